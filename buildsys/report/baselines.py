"""baselines.json, committed: the figures that a build is held to, and what is worse than they are.

    {"tolerances": {"accuracy": 0.002, "bytes": 0.01},
     "tags@host": {"box.mAP50-95": 0.96, "bytes": 3166688}}

`tolerances`: accuracy absolute, bytes as a share; without them those two. A gate decides what may
ship; a baseline tells of what got worse within the gate.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

from buildsys.committed_json import read_committed
from buildsys.errors import InputError
from buildsys.execution.places import Workspace
from buildsys.execution.state.build_patterns import is_variant
from buildsys.files import write_atomic
from buildsys.outcome import Kind
from buildsys.steps.lib.metrics.limits import exceeds
from buildsys.steps.lib.report.values import Artifact, Regression, Report, headline
from buildsys.write_errors import writing

FILE = "baselines.json"
_BYTES, _TOLERANCES = "bytes", "tolerances"
_ACCURACY = "accuracy"
_LOST = (Kind.REJECTED, Kind.FAILED, Kind.BLOCKED, Kind.BROKEN)
"""The statuses in which a build has no figures because of what it is, not because it was not built."""
_DEFAULTS = {_ACCURACY: 0.002, _BYTES: 0.01}


def check_figure(value: float) -> None:
    """Raise ValueError for a negative figure."""
    if value < 0:
        raise ValueError("it is below zero")


Figure = Annotated[float, check_figure]


@dataclass(frozen=True, kw_only=True)
class Baselines:
    """The accepted figures.

    `builds`: (id, ((metric or bytes, value), …)); `tolerances`: (accuracy or bytes, value).
    """

    builds: tuple[tuple[str, tuple[tuple[str, float], ...]], ...] = ()
    tolerances: tuple[tuple[str, float], ...] = ()

    def tolerance(self, metric: str, then: float) -> float:
        """Return how much worse a figure may be, in its own unit."""
        tolerances = _DEFAULTS | dict(self.tolerances)
        return tolerances[_BYTES] * then if metric == _BYTES else tolerances[_ACCURACY]


def path(workspace: Workspace) -> Path:
    """Return the file's path."""
    return workspace.root / FILE


def read(workspace: Workspace) -> Baselines:
    """Return the accepted figures; empty without the file. Raises InputError."""
    hint = "correct it, or remove it: `buildsys report --accept` writes one from the present builds"
    try:
        rows = read_committed(
            dict[str, dict[str, Figure]],
            path(workspace),
            FILE,
            "the file does not contain baselines",
            hint,
        )
    except FileNotFoundError:
        return Baselines()
    tolerances = rows.pop(_TOLERANCES, {})
    odd = sorted(tolerances.keys() - _DEFAULTS.keys())
    if odd:
        message = f"`{_TOLERANCES}` has `{odd[0]}`; the known ones are {_ACCURACY} and {_BYTES}"
        raise InputError.at(FILE, message, hint)
    builds = tuple((name, tuple(sorted(rows[name].items()))) for name in sorted(rows))
    return Baselines(builds=builds, tolerances=tuple(sorted(tolerances.items())))


def compare(report: Report, known: Baselines) -> Report:
    """Return the report with what got worse.

    A build that does not ship has no figures to compare.
    """
    rows = dict(known.builds)
    return replace(
        report,
        artifacts=tuple(
            replace(
                item,
                baseline=item.id in rows,
                regressions=_regressions(item, rows.get(item.id, ()), known) if item.good else (),
            )
            for item in report.artifacts
        ),
    )


def _regressions(
    artifact: Artifact, then: tuple[tuple[str, float], ...], known: Baselines
) -> tuple[Regression, ...]:
    now = _figures(artifact)
    found = []
    for metric, value in then:
        tolerance, current = known.tolerance(metric, value), now.get(metric)
        worse = -1.0 if current is None else value - current
        if current is not None and metric == _BYTES:
            worse = -worse
        if current is None or exceeds(worse, tolerance):
            found.append(Regression(metric=metric, now=current, then=value, tolerance=tolerance))
    return tuple(found)


def _figures(artifact: Artifact) -> dict[str, float]:
    metrics = dict(artifact.judged.metrics) if artifact.judged else {}
    return metrics | ({_BYTES: float(artifact.bytes)} if artifact.bytes else {})


@dataclass(frozen=True, kw_only=True)
class Uncompared:
    """A build with accepted figures and without current ones. `lost`: it was tried, and makes nothing
    to ship; otherwise it is not built here.
    """

    build: str
    lost: bool
    reason: str

    def __str__(self) -> str:
        what = "nothing can be shipped any more" if self.lost else "not compared"
        return f"{self.build}: {what}: {self.reason} ({FILE} has its figures)"


def uncompared(known: Baselines, report: Report) -> tuple[Uncompared, ...]:
    """Return the builds whose accepted figures were compared with nothing, in the file's order."""
    found = []
    here = {item.id: item for item in report.artifacts}
    for build, _ in known.builds:
        broken = (item for item in report.artifacts if _of_broken(item, build))
        item = here.get(build) or next(broken, None)
        if item is None:
            reason = "it is not a build of this workspace"
            found.append(Uncompared(build=build, lost=False, reason=reason))
        elif not item.good:
            lost = item.status in _LOST
            found.append(Uncompared(build=build, lost=lost, reason=item.detail or item.status))
    return tuple(found)


def outdated(known: Baselines, report: Report) -> tuple[str, ...]:
    """Return the rows of builds that no longer exist.

    A recipe with a mistake may have no builds now: every row whose name begins like its builds stays.
    """
    here = {item.id for item in report.artifacts}
    return tuple(
        name
        for name, _ in known.builds
        if name not in here and not any(_of_broken(item, name) for item in report.artifacts)
    )


def _of_broken(item: Artifact, build: str) -> bool:
    """Return whether a build's name begins like the builds of a recipe with a mistake."""
    name = build.partition("@")[0]
    return not item.has_page and (name == item.recipe or is_variant(name, item.recipe))


def accept(known: Baselines, report: Report, builds: Iterable[str]) -> Baselines:
    """Return the baselines with the current figures of some builds, without outdated rows."""
    wanted, gone = set(builds), outdated(known, report)
    rows = {name: row for name, row in known.builds if name not in gone}
    for item in report.artifacts:
        if item.id in wanted and item.good:
            figures = _figures(item)
            kept = headline(item.judged.metrics) if item.judged else ()
            rows[item.id] = tuple((n, figures[n]) for n in sorted((*kept, _BYTES)) if n in figures)
    return replace(known, builds=tuple(sorted(rows.items())))


def write(workspace: Workspace, known: Baselines) -> None:
    """Write the file, sorted, for people to compare. Raises CannotWrite."""
    data: dict[str, dict[str, float]] = {
        name: {key: int(value) if key == _BYTES else value for key, value in row}
        for name, row in known.builds
    }
    if known.tolerances:
        data[_TOLERANCES] = dict(known.tolerances)
    target = path(workspace)
    with writing(FILE, workspace.root):
        text = json.dumps(data, indent=1, sort_keys=True, ensure_ascii=False)
        write_atomic(target, text + "\n")
