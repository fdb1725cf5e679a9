"""The workspace's plans, kept as JSON: when no recipe, target or code changed, nothing is parsed.

What a plan depends on is watched by stat: the files that were read, the folders that were listed,
our own code and data. Losing the cache costs a second.
"""

import contextlib
import dataclasses
import hashlib
import json
import os
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import buildsys
from buildsys.digest import digest_value
from buildsys.engine.places import Workspace
from buildsys.errors import Diagnostic, InputError
from buildsys.graph import Input, Origin, Output, Plan, Source, Step

_FILE_CLOCK = 5
"""CLOCK_REALTIME_COARSE, which dates files: the fine clock is some milliseconds ahead of it."""
_TICK_SECONDS = 0.011
_PACKAGE = Path(buildsys.__file__).resolve().parent


@dataclass(frozen=True, kw_only=True)
class Plans:
    """Every build that can be planned, and what is wrong with the rest."""

    plans: tuple[Plan, ...]
    diagnostics: tuple[Diagnostic, ...]

    @property
    def errors(self) -> tuple[Diagnostic, ...]:
        """The diagnostics that are no mere warnings."""
        return tuple(d for d in self.diagnostics if d.severity == "error")


def load_plans(workspace: Workspace) -> Plans:
    """Plans of all recipes, from the cache when nothing that they depend on changed."""
    cache = workspace.state / "plans.json"
    try:
        data = json.loads(cache.read_bytes())
        if data["watched"] == _fingerprint(data["files"], workspace):
            return _decode(data)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        pass  # absent, of another version, damaged
    time.sleep(_TICK_SECONDS)  # so that what was edited before has an earlier time than now
    began = time.clock_gettime_ns(_FILE_CLOCK)
    plans, files = make_plans(workspace)
    if plans.errors:
        return plans  # what mends a mistake may be any file: look at everything again
    if any(os.path.exists(path) and os.stat(path).st_ctime_ns >= began for path in files):
        return plans  # edited since we began: who knows which half was read
    data = {"watched": _fingerprint(files, workspace), "files": list(files), **_encode(plans)}
    temporary = cache.with_suffix(f".{os.getpid()}")
    with contextlib.suppress(OSError):  # a full disk is told of where it matters
        cache.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_text(json.dumps(data), encoding="utf-8")
        temporary.replace(cache)
    with contextlib.suppress(OSError):
        temporary.unlink(missing_ok=True)
    return plans


def make_plans(workspace: Workspace) -> tuple[Plans, tuple[str, ...]]:
    """Read and plan everything now; returns the plans and the files that they rest on."""
    from buildsys import planner
    from buildsys.authoring.builds import load

    loaded = load(workspace.root)
    plans, diagnostics = [], list(loaded.diagnostics)
    for build in loaded.builds:
        if build.waiting_for:
            plans.append(_waiting(build))
            continue
        try:
            plan = planner.plan(build, str(workspace.root))
        except InputError as error:
            diagnostics += error.diagnostics
        else:
            plans.append(complete(plan))
    return Plans(plans=tuple(plans), diagnostics=tuple(diagnostics)), loaded.read


def complete(plan: Plan) -> Plan:
    """A plan whose steps know their code and their tools."""
    from buildsys.engine import stepcode
    from buildsys.engine.toolenvs import tool_env

    steps = []
    for step in plan.steps:
        env = tool_env(step.tool_env) if step.tool_env else None
        steps.append(
            dataclasses.replace(
                step,
                code=stepcode.code_digest(step.module, stepcode.PACKAGE),
                tool=f"{env.title} {env.version}" if env else f"buildsys {buildsys.__version__}",
                tool_identity=env.identity if env else "",
            )
        )
    return dataclasses.replace(plan, steps=tuple(steps))


def _waiting(build: Any) -> Plan:
    return Plan(
        build=build.id, recipe=build.recipe.name, target=build.target.name,
        label=build.target.label, steps=(), package="", shipped=None, verdict="", notes=(),
        licences=(), waiting_for=build.waiting_for,
    )  # fmt: skip


def _fingerprint(files: Iterable[str], workspace: Workspace) -> str:
    """Digest of the stats of everything that plans depend on."""
    watched = list(files)
    for folder in (
        workspace.root / "recipes",
        workspace.root / "targets",
        _PACKAGE.parent / "targets",
    ):
        watched += [str(folder), *_listing(folder)]
    for name in ("", "authoring", "steps", "envs"):
        watched += _listing(_PACKAGE / name)
    for env in _listing(_PACKAGE / "envs"):
        watched += _listing(Path(env))
    state = hashlib.sha256(str(workspace.root).encode())
    for path in sorted(set(watched)):
        try:
            stat = os.stat(path)
        except OSError:
            state.update(f"{path} absent\n".encode())
        else:
            kind = (
                ""
                if os.path.isdir(path)
                else f"{stat.st_size} {stat.st_mtime_ns} {stat.st_ctime_ns}"
            )
            state.update(f"{path} {kind} {stat.st_ino}\n".encode())
    return state.hexdigest()


def _listing(folder: Path) -> list[str]:
    try:
        return [e.path for e in os.scandir(folder) if e.name != "__pycache__"]
    except OSError:
        return []


def _encode(plans: Plans) -> dict[str, Any]:
    """Steps once, however many plans share them."""
    steps = {_key(s): dataclasses.asdict(s) for plan in plans.plans for s in plan.steps}
    rows = []
    for plan in plans.plans:
        row = {f.name: getattr(plan, f.name) for f in dataclasses.fields(plan)}
        row["steps"] = [_key(step) for step in plan.steps]
        row["shipped"] = dataclasses.asdict(plan.shipped) if plan.shipped else None
        rows.append(row)
    diagnostics = [dataclasses.asdict(diagnostic) for diagnostic in plans.diagnostics]
    return {"steps": steps, "plans": rows, "diagnostics": diagnostics}


def _key(step: Step) -> str:
    """Builds share a step's id, and each has its own lines that its parameters come from."""
    return f"{step.id} {digest_value(step.origins)[:16]}"


def _decode(data: dict[str, Any]) -> Plans:
    steps = {key: _step(row) for key, row in data["steps"].items()}
    plans = tuple(
        Plan(
            **{
                **row,
                "steps": tuple(steps[key] for key in row["steps"]),
                "shipped": _input(row["shipped"]) if row["shipped"] else None,
                "notes": tuple(row["notes"]),
                "licences": tuple(row["licences"]),
            }
        )
        for row in data["plans"]
    )
    diagnostics = tuple(Diagnostic(**row) for row in data["diagnostics"])
    return Plans(plans=plans, diagnostics=diagnostics)


def _step(row: dict[str, Any]) -> Step:
    return Step(
        **{
            **row,
            "inputs": tuple(_input(item) for item in row["inputs"]),
            "outputs": tuple(Output(**item) for item in row["outputs"]),
            "origins": tuple(Origin(**item) for item in row["origins"]),
        }
    )


def _input(row: dict[str, Any]) -> Input:
    source = row["source"]
    if source is None:
        return Input(**row)
    return Input(**{**row, "source": Source(**{**source, "parts": tuple(source["parts"])})})
