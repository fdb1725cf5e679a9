"""Reads a package's figures, and chooses the variant of a recipe that ships."""

import dataclasses
from collections.abc import Callable, Iterable, Mapping
from typing import TypedDict

from buildsys import typed_json
from buildsys.errors import BuildsysError, MissingBytes
from buildsys.execution.packages.figures import Figures
from buildsys.execution.packages.model_file import find_model
from buildsys.execution.packages.publish import red_verdicts
from buildsys.execution.places import Workspace
from buildsys.execution.state.decide import State
from buildsys.files import read_regular
from buildsys.graph import BuildPlan, Choice, Plan, SelectionPlan, Variant
from buildsys.spec import classes_without_objects

_MEASURED = ("tflite", "quantized-onnx", "onnx", "checkpoint")
"""Files whose figures count: the shipped file's before those of what it was made from."""


def figures(workspace: Workspace, state: State, plan: Plan) -> Figures:
    """Return figures of the published folder, otherwise of the store; empty without either."""
    folder = workspace.package(plan.build)
    if folder.is_dir():
        sizes = {
            path.relative_to(folder).as_posix(): path.stat().st_size
            for path in folder.rglob("*")
            if path.is_file()
        }
        return _figures(sizes, lambda name: read_regular(folder / name))
    return _stored(state, plan) if isinstance(plan, BuildPlan) else Figures()


def _stored(state: State, plan: BuildPlan) -> Figures:
    try:
        result = state.result(plan.package)
        entries = state.store.index(result.output("package")) if result else ()
    except (BuildsysError, OSError):
        return Figures()
    blobs = {name: digest for name, _, digest in entries}
    sizes = {name: size for name, size, _ in entries}
    return _figures(sizes, lambda name: state.store.read(blobs[name]))


def _figures(sizes: Mapping[str, int], read: Callable[[str], bytes]) -> Figures:
    model = find_model({name: (size, "") for name, size in sizes.items()})
    metrics, vela = _json("metrics.json", sizes, read), _json("vela.json", sizes, read)
    return Figures(
        file=model.name if model else "",
        bytes=model.bytes if model else 0,
        sram_bytes=_number(vela.get("sram_bytes")),
        **_metrics(metrics),
    )


class _Accuracy(TypedDict, total=False):
    metrics: tuple[tuple[str, float], ...]
    split: str
    without_objects: tuple[str, ...]


def _metrics(found: Mapping[str, object]) -> _Accuracy:
    """Return the main figures by name, and classes without one; empty for a file of another
    form.
    """
    kind = next((kind for kind in _MEASURED if kind in found), "")
    try:
        row = typed_json.decode(dict[str, object], found.get(kind, {}))
        values = typed_json.decode(dict[str, float | None], row.get("metrics", {}))
        split = typed_json.decode(str, row.get("split", ""))
    except ValueError:
        return {}
    known = tuple(sorted((name, v) for name, v in values.items() if v is not None))
    return {
        "metrics": known,
        "split": split,
        "without_objects": classes_without_objects(values),
    }


def _number(value: object) -> int:
    """Return a number of bytes; 0 for anything else."""
    return int(value) if isinstance(value, int | float) else 0


def _json(
    name: str, sizes: Mapping[str, int], read: Callable[[str], bytes]
) -> Mapping[str, object]:
    """Return the JSON object in a file of the package; empty if there is none."""
    try:
        return typed_json.parse(dict[str, object], read(name)) if name in sizes else {}
    except (OSError, ValueError):
        return {}


def choose(
    state: State,
    selection: SelectionPlan,
    candidates: Iterable[BuildPlan],
) -> BuildPlan | None:
    """Return the best candidate as the plan of the selection itself; None where none may ship.

    Of equal figures, the earlier variant is chosen. The manifest names them all. Raises
    MissingBytes.
    """
    among: list[Variant] = []
    best: tuple[float, BuildPlan] | None = None
    for candidate in candidates:
        made = state.result(candidate.package) is not None
        passed = made and not red_verdicts(state, candidate)
        known = _whole(state, candidate) if passed else Figures()
        value = known.value(selection.metric)
        among.append(Variant(build=candidate.build, passed=passed, value=value))
        if value is None:
            continue
        better = best is None or (value > best[0] if selection.maximize else value < best[0])
        best = (value, candidate) if better else best
    if best is None:
        return None
    choice = Choice(
        chosen=best[1].build,
        metric=selection.metric,
        maximize=selection.maximize,
        among=tuple(among),
    )
    return dataclasses.replace(best[1], build=selection.build, choice=choice)


def _whole(state: State, plan: BuildPlan) -> Figures:
    """Return figures of a package whose bytes are all in the store. Raises MissingBytes."""
    result = state.result(plan.package)
    if result is None or not state.holds(state.steps[plan.package], result):
        raise MissingBytes(plan.package)
    return _stored(state, plan)
