"""At the end of a run: builds that are timed together, by one step over the files that there are.

It belongs to no plan: a file that is missing, or a build that failed, keeps no other from shipping.
What is compared is known by the files' digests, so that nothing is measured twice. The result lies
beside each build as comparison.json; the manifest, the same on every machine, does not know of it.
"""

import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from buildsys.digest import digest_file
from buildsys.errors import BuildsysError
from buildsys.execution.packages.publish import build_folder, publish_beside
from buildsys.execution.session.session import Session
from buildsys.execution.state.ledger import GOOD
from buildsys.graph import Input, Plan, Step
from buildsys.spec import Format

FILE = "comparison.json"
_TIMED = (Format.TFLITE, Format.ONNX)
"""What LiteRT and onnxruntime run."""


def compare(session: Session) -> None:
    """Every comparison of a build that was asked for and is ready; a failure is its row's status."""
    for build in session.asked:
        plan = session.plans.get(build)
        if plan is None or not plan.rivals or build in session.publisher.candidates:
            continue
        if session.publisher.outcomes.get(build) in GOOD:
            try:
                _compare(session, plan)
            except (BuildsysError, OSError) as error:
                session.publisher.outcomes[build] = "failed at compare"
                session.console.say(f"{build} was not compared: {str(error).splitlines()[0]}")


def _compare(session: Session, plan: Plan) -> None:
    missing = {name: why for name in plan.rivals if (why := _why_missing(session, name))}
    for why in dict.fromkeys(missing.values()):
        names = [name for name, reason in missing.items() if reason == why]
        more = f" and {len(names) - 1} more" if len(names) > 1 else ""
        session.console.say(f"{plan.build} is compared without {names[0]}{more}: {why}")
    present = [session.plans[name] for name in plan.rivals if name not in missing]
    if len(present) > 1:
        step = _step(session, plan, present)
        session.executor.include(step, plan.build)
        session.executor.run_step(step)
        path = build_folder(session.workspace, plan.build) / FILE
        if not path.is_file() or digest_file(path) != _digest(session, step):
            content = _content(session, step)
            publish_beside(session.workspace, session.state, plan.build, FILE, content)
    if not missing:
        session.compared.add(plan.build)


def _content(session: Session, step: Step) -> bytes:
    """What the step found; measured again where the store has lost it."""
    session.state.want_bytes(step.id)
    session.executor.run_step(step)
    return session.state.store.read(_digest(session, step))


def _digest(session: Session, step: Step) -> str:
    result = session.state.result(step.id)
    assert result is not None
    return dict(result.outputs)["comparison"]


def _why_missing(session: Session, name: str) -> str:
    """Why a build has no file to time; empty where it has one."""
    plan = session.plans[name]
    if plan.waiting_for:
        return f"it waits for {plan.waiting_for}"
    if plan.shipped is None or plan.shipped.name not in _TIMED:
        kind = plan.shipped.name if plan.shipped else "nothing"
        return f"it ships {kind}, which neither LiteRT nor onnxruntime runs"
    if session.state.input_digest(plan.shipped) is not None:
        return ""
    (row,) = session.rows([name])
    asked = name in session.asked
    return row.status if asked else "not built (a plain `doit` builds all)"


def _files(session: Session, plan: Plan) -> Iterator[Input]:
    """The file that ships, and the ONNX file that it was made from."""
    assert plan.shipped is not None
    yield plan.shipped
    if plan.shipped.name == Format.ONNX:
        return
    inputs = (item for step in plan.steps for item in step.inputs)
    made_from = next((item for item in inputs if item.name == Format.ONNX), None)
    if made_from is not None and session.state.input_digest(made_from) is not None:
        yield made_from


def _step(session: Session, plan: Plan, present: list[Plan]) -> Step:
    """One step over every file once, however many builds share it."""
    from buildsys.authoring.machine import machine_name
    from buildsys.execution.state.plans import complete
    from buildsys.planning.plan_builder import make_step
    from buildsys.registry import step_module

    files: dict[str, tuple[Input, list[Plan]]] = {}
    for member in present:
        for item in _files(session, member):
            key = f"{item.name} {session.state.input_digest(item)}"
            files.setdefault(key, (item, []))[1].append(member)
    module, block = step_module("compare_latency"), _settings(session, plan)
    ordered = sorted(files.values(), key=lambda file: ([p.build for p in file[1]], file[0].name))
    subjects = tuple(_subject(module, item, members) for item, members in ordered)
    params = module.Params(
        subjects=subjects,
        threads=block.threads,
        runs=block.runs,
        warmup=block.warmup,
        machine=machine_name(),
    )
    inputs = {module.input_name(index): item for index, (item, _) in enumerate(ordered)}
    step = make_step("compare", module, params, inputs, {"comparison": False})
    (step,) = complete(replace(plan, steps=(step,))).steps
    return step


def _settings(session: Session, plan: Plan) -> Any:
    """The `benchmark` block; a selection's is that of its variants."""
    members = [session.plans[name] for name in plan.candidates if name in session.plans]
    return next(p.comparison for p in (plan, *members) if p.comparison is not None)


def _subject(module: Any, item: Input, members: list[Plan]) -> Any:
    """How the file was made, read off the steps that it rests on."""
    from buildsys.planning.plan_builder import needed

    scheme = converter = ""
    for step in needed(list(members[0].steps), (item.step,)):
        quantization = json.loads(step.params).get("quantization")
        scheme = quantization["scheme"] if isinstance(quantization, dict) else scheme
        if any(output.name == Format.SAVED_MODEL for output in step.outputs):
            converter = step.module.removeprefix("convert_").replace("_", "-")
    builds = tuple(plan.build for plan in members)
    return module.Subject(builds=builds, format=item.name, scheme=scheme, converter=converter)
