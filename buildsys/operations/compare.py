"""`buildsys compare`: times the files of several builds with one step, after they are built.

The step belongs to no plan. Its key contains the digests of the files, so that nothing is measured
twice; its result is written to build/.comparisons, where the report reads it.
"""

import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from buildsys.digest import digest_file
from buildsys.errors import BuildsysError, InputError, Rejected, Waiting
from buildsys.execution.session.session import Session
from buildsys.execution.state.completed_plans import complete_step
from buildsys.execution.tools.host_facts import cpu_name
from buildsys.files import write_atomic
from buildsys.graph import BuildPlan, Input, SelectionPlan, Step, WaitingPlan, build_plans
from buildsys.outcome import Kind
from buildsys.planning.plan_steps import make_step, needed
from buildsys.registry import read_step
from buildsys.report.comparisons import comparison_file
from buildsys.spec import READ_AS, Format, Intermediate
from buildsys.steps import compare_latency
from buildsys.write_errors import writing

_TIMED = (Format.TFLITE, Format.ONNX)
"""Formats that LiteRT and onnxruntime run."""
_CONVERTED = (Format.SAVED_MODEL, Intermediate.FLOAT_TFLITE)
"""What a converter makes before quantization."""
_MOST = 64
"""The most files that one process holds and times in turn."""
_WORST_FIRST = (BuildsysError, InputError, Rejected, Waiting)


@dataclass(frozen=True, kw_only=True)
class Rounds:
    """How the files are timed: CPU threads, timed runs of each file, untimed runs before them."""

    threads: int
    runs: int
    warmup: int


@dataclass(frozen=True, kw_only=True)
class LeftOut:
    """A build without a file to time; `kind`: the error that decides the exit code."""

    build: str
    reason: str
    kind: type[BuildsysError]


@dataclass(frozen=True, kw_only=True)
class Group:
    """The builds to compare, and the requested builds that have no file to time."""

    plans: tuple[BuildPlan, ...]
    left_out: tuple[LeftOut, ...]

    @property
    def exit_code(self) -> int:
        """Return 0 if every requested build is compared, otherwise the error's code."""
        kinds = [item.kind for item in self.left_out]
        return next((kind.exit_code for kind in _WORST_FIRST if kind in kinds), 0)


def find_group(session: Session, patterns: Sequence[str]) -> Group:
    """Return the builds that ids and patterns select. Raises InputError."""
    plans = _select(session, patterns)
    left_out = tuple(item for plan in plans if (item := _left_out(session, plan)) is not None)
    missing = {item.build for item in left_out}
    whole = tuple(plan for plan in build_plans(plans) if plan.build not in missing)
    return Group(plans=whole, left_out=left_out)


def compare(session: Session, plans: Sequence[BuildPlan], rounds: Rounds) -> Path:
    """Time the files of built plans, unless that was done before; returns the record's path.

    Raises BuildsysError.
    """
    step = _make_step(session, plans, rounds)
    session.executor.include(step, f"{len(plans)} builds")
    session.executor.run_step(step)
    path = comparison_file(session.workspace, [plan.build for plan in plans])
    if not os.path.isfile(path) or digest_file(path) != _digest(session, step):
        content = session.executor.read(step, "comparison")
        with writing("the comparison", session.workspace.build, len(content)):
            write_atomic(session.workspace.own(path), content)
    return path


def _select(session: Session, patterns: Sequence[str]) -> list[BuildPlan | WaitingPlan]:
    """Return the selected plans, without selections among variants, which have no file."""
    chosen = [session.plans[name] for name in session.loaded.select(patterns)]
    named = {pattern.removeprefix("build:") for pattern in patterns}
    for plan in chosen:
        if isinstance(plan, SelectionPlan) and not named.isdisjoint((plan.build, plan.recipe)):
            message = "selects between variants and has no file itself"
            hint = f"name a variant, for example {plan.candidates[0]}"
            raise InputError.at(plan.build, message, hint)
    found = [plan for plan in chosen if not isinstance(plan, SelectionPlan)]
    if len(found) < 2:
        count = f"{len(found)} build{'' if len(found) == 1 else 's'}"
        message = f"names {count}: a comparison takes two or more"
        raise InputError.at(" ".join(patterns), message)
    return found


def _left_out(session: Session, plan: BuildPlan | WaitingPlan) -> LeftOut | None:
    """Return why a build has no file to time; None if it has one."""
    if isinstance(plan, WaitingPlan):
        return LeftOut(build=plan.build, reason=f"it waits for {plan.waiting_for}", kind=Waiting)
    if plan.shipped is None or _format(plan.shipped) not in _TIMED:
        kind = plan.shipped.name if plan.shipped else "no model"
        reason = f"it ships {kind}, which LiteRT and onnxruntime cannot run"
        return LeftOut(build=plan.build, reason=reason, kind=InputError)
    try:
        if session.state.input_digest(plan.shipped) is not None:
            return None
        outcome = session.publisher.current_outcome(plan)
    except BuildsysError as error:
        reason = str(error).splitlines()[0]
        return LeftOut(build=plan.build, reason=reason, kind=BuildsysError)
    kinds = {Kind.WAITING: Waiting, Kind.REJECTED: Rejected}
    if outcome is not None and outcome.kind in kinds:
        return LeftOut(build=plan.build, reason=f"it is {outcome}", kind=kinds[outcome.kind])
    reason = f"it is not built: `doit build:{plan.build}`"
    return LeftOut(build=plan.build, reason=reason, kind=BuildsysError)


def _make_step(session: Session, plans: Sequence[BuildPlan], rounds: Rounds) -> Step:
    """Return one step over all files, each once, however many builds share it.

    Raises InputError.
    """
    files: dict[tuple[str, str], tuple[Input, list[BuildPlan]]] = {}
    for plan in plans:
        for item, digest in _files(session, plan):
            files.setdefault((item.name, digest), (item, []))[1].append(plan)
    if len(files) > _MOST:
        message = f"{len(files)} files of {len(plans)} builds; at most {_MOST} are timed together"
        raise InputError.at("compare", message, "name fewer builds")
    ordered = sorted(files.values(), key=lambda file: ([p.build for p in file[1]], file[0].name))
    params = compare_latency.Params(
        subjects=tuple(_subject(item, owners) for item, owners in ordered),
        threads=rounds.threads,
        runs=rounds.runs,
        warmup=rounds.warmup,
        machine=cpu_name(),
    )
    inputs = {compare_latency.input_name(index): item for index, (item, _) in enumerate(ordered)}
    definition = read_step(compare_latency)
    return complete_step(make_step("compare", definition, params, inputs, {"comparison": False}))


def _files(session: Session, plan: BuildPlan) -> Iterator[tuple[Input, str]]:
    """Yield the shipped file and the ONNX file that was converted to it, with their digests; not
    the given one that steps have changed, whose shape may be open.
    """
    assert plan.shipped is not None
    items = [plan.shipped]
    if plan.shipped.name != Format.ONNX:
        steps = needed(list(plan.steps), (plan.shipped.step,))
        items += [item for step in steps for item in step.inputs if item.name == Format.ONNX][-1:]
    for item in items:
        digest = session.state.input_digest(item)
        if digest is not None:
            yield item, digest


def _subject(item: Input, owners: Sequence[BuildPlan]) -> compare_latency.Subject:
    """Describe how the file was made, from the steps that it depends on."""
    scheme = converter = ""
    for step in needed(list(owners[0].steps), (item.step,)):
        made = {output.name for output in step.outputs}
        params = json.loads(step.params)
        settings = params if Format.QUANTIZED_ONNX in made else params.get("quantization")
        scheme = settings["scheme"] if isinstance(settings, dict) else scheme
        if not made.isdisjoint(_CONVERTED):
            converter = step.tool_env
    builds = tuple(plan.build for plan in owners)
    return compare_latency.Subject(
        builds=builds, format=_format(item), scheme=scheme, converter=converter
    )


def _format(item: Input) -> str:
    """Return the format of a file as the runtimes read it: a quantized ONNX file is an ONNX file."""
    return READ_AS.get(item.name, item.name)


def _digest(session: Session, step: Step) -> str:
    result = session.state.result(step.id)
    assert result is not None
    return result.output("comparison")
