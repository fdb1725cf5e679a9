"""The results of a run: build/summary.json, the table at its end, its exit code."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from buildsys.errors import NotAsLocked, Rejected, Waiting
from buildsys.execution.packages.figures import Figures, read_figures
from buildsys.execution.places import Workspace
from buildsys.execution.state.settled import SettledBuild
from buildsys.execution.store.store import Store
from buildsys.files import read_regular, write_atomic
from buildsys.json_text import json_text
from buildsys.outcome import HAS_MISTAKE, UP_TO_DATE, Kind, Outcome
from buildsys.printing import annotation
from buildsys.spec import HEADLINES, status_text
from buildsys.text import describe_unmeasured, duration
from buildsys.write_errors import writing

EARLIER = "an earlier package stays in build/ until the new one is built"
_CARRY = "an engine waits for its machine; carry it there: buildsys bundle {}"
_CARRY_EACH = "{} engines wait for their machines; carry each there, the first: buildsys bundle {}"
_WIDEST = 40
_MOST_ALIKE = 3
"""More rows with one cause than this share a row."""
_MOST_NAMED = 20
"""The most missing lines of buildsys.lock that are listed."""
_MOST_ROWS = 40
"""A longer table omits up-to-date builds."""


@dataclass(frozen=True, kw_only=True)
class Row(Figures):
    """One build: its outcome, the seconds that this run spent on its steps, and its package's
    figures.

    `candidate`: a variant that `select` chooses among; it may be rejected. `earlier`: it waits, and
    build/ holds the package of an earlier recipe. `proved`: False where no step measured or judged
    the package's content.
    """

    id: str
    outcome: Outcome
    seconds: float
    candidate: bool = False
    earlier: bool = False
    proved: bool = True

    @property
    def status(self) -> str:
        """The complete text of the outcome."""
        return str(self.outcome)

    @property
    def good(self) -> bool:
        """Return whether there is a package to ship."""
        return self.outcome.good

    @property
    def is_loser(self) -> bool:
        """Return whether it is a rejected variant, which does not fail the run."""
        return self.candidate and self.outcome.kind == Kind.REJECTED


def settled_row(build: SettledBuild) -> Row:
    """Return the row of a build that needs no work; reads nothing."""
    figures = vars(read_figures(build.figures))
    return Row(id=build.id, outcome=UP_TO_DATE, seconds=0.0, candidate=build.candidate, **figures)


def write_summary(workspace: Workspace, rows: list[Row]) -> None:
    """Write build/summary.json, if its content changes. Raises CannotWrite."""
    path = workspace.own(workspace.build / "summary.json")
    text = '{"builds": [\n' + ",\n".join(map(_encode, rows)) + "\n]}\n"
    try:
        if read_regular(path) == text.encode():
            return
    except OSError:
        pass
    with writing("build/summary.json", workspace.build, len(text)):
        write_atomic(path, text, durable=False)


def _encode(row: Row) -> str:
    differs = {"differs": row.outcome.differs} if row.outcome.differs else {}
    if not row.file and not row.candidate:
        return json_text({"id": row.id, "status": row.status, "seconds": row.seconds} | differs)
    return json_text(
        {
            "id": row.id,
            "status": row.status,
            "seconds": row.seconds,
            "candidate": row.candidate,
            "proved": row.proved,
            "file": row.file,
            "bytes": row.bytes,
            "sram_bytes": row.sram_bytes,
            "metrics": dict(row.metrics),
        }
        | differs
    )


def exit_code(rows: Iterable[Row], named: bool, strict: bool = False, locked: bool = False) -> int:
    """Return the exit code of a run.

    0; 1 if something failed; 12 if `locked` and a build differs from buildsys.lock; 11 if a gate is
    red; 10 if a requested build waits. `named`: the builds were requested by name or pattern;
    `strict`: a waiting build always counts.
    """
    rows = list(rows)
    kinds = {row.outcome.kind for row in rows if not row.good and not row.is_loser}
    if kinds - {Kind.NOT_IN_LOCK, Kind.REJECTED, Kind.WAITING}:
        return 1
    if Kind.NOT_IN_LOCK in kinds or (locked and any(row.outcome.differs for row in rows)):
        return NotAsLocked.exit_code
    if Kind.REJECTED in kinds:
        return Rejected.exit_code
    return Waiting.exit_code if kinds and (named or strict) else 0


def unread_note(outcomes: Iterable[Outcome], store: Store) -> str:
    """Return a line about a remote store that may have what builds wait for; empty if none can."""
    if all(outcome.kind != Kind.WAITING for outcome in outcomes) or not store.unread:
        return ""
    return f"{store.unread} could not be read completely: it may have what these builds wait for"


def render_table(rows: list[Row]) -> str:
    """Format the table: status, time, size, memory, and accuracy if the packages have it."""
    many = len(rows) > _MOST_ROWS
    shown = [row for row in rows if row.outcome != UP_TO_DATE] if many else rows
    idle = len(rows) - len(shown)
    portable = [row.id for row in shown if row.outcome.portable]
    shown = fold(shown)
    text = _render(shown) if shown else ""
    why = [f"{row.id}: {row.status}" for row in shown if _short(row.outcome) != row.status]
    why += _inaccurate(shown)
    why += [f"{row.id}: {EARLIER}" for row in shown if row.earlier]
    why += _without_objects(shown)
    why += _differences(rows)
    if portable:
        each = len(portable) > 1
        why.append(
            _CARRY_EACH.format(len(portable), portable[0]) if each else _CARRY.format(portable[0])
        )
    rest = f"{idle} build{'s are' if idle > 1 else ' is'} up-to-date" if idle else ""
    return "\n".join(filter(None, (text, *why, rest)))


def _without_objects(rows: Iterable[Row]) -> list[str]:
    """Return which classes could not be measured, once for all builds that lack the same."""
    return _once(
        (row.id, describe_unmeasured(row.split, row.without_objects))
        for row in rows
        if row.without_objects
    )


def _inaccurate(rows: Iterable[Row]) -> list[str]:
    """Return which networks are as good as untrained ones, once for all builds that are alike."""
    return _once((row.id, f"{found}: {_ADVICE}") for row in rows if (found := _untrained(row)))


def _once(texts: Iterable[tuple[str, str]]) -> list[str]:
    """Return each of several texts about builds once for all builds that share it."""
    builds: dict[str, list[str]] = {}
    for build, text in texts:
        builds.setdefault(text, []).append(build)
    return [f"{_and_more(names)}: {text}" for text, names in builds.items()]


def _and_more(names: list[str]) -> str:
    """Return the first of several builds, and the number of the others."""
    return f"{names[0]} and {len(names) - 1} more" if len(names) > 1 else names[0]


def _differences(rows: Iterable[Row]) -> list[str]:
    """Return how builds differ from buildsys.lock, each difference once, and what to do."""
    found = list(dict.fromkeys(text for row in rows for text in row.outcome.differs))
    if not found:
        return []
    names = dict.fromkeys(row.id for row in rows if row.outcome.differs)
    asked = f" {' '.join(names)}" if len(names) <= _MOST_ALIKE else ""
    return [
        *found,
        f"buildsys.lock was not changed; `buildsys update{asked}` records these results",
    ]


def render_not_as_locked(found: list[str]) -> str:
    """Return why a locked run does not start; `found`: missing or different lines."""
    more = len(found) - _MOST_NAMED
    lines = [*found[:_MOST_NAMED], *([f"and {more} more"] if more > 0 else [])]
    return "\n    ".join(
        [
            "these builds need another buildsys.lock, which must not change; nothing was built",
            *lines,
            "help: `buildsys build` adds lines, `buildsys update` replaces different ones: commit the file;"
            " `buildsys store import` imports a recorded network",
        ]
    )


def fold(rows: list[Row]) -> list[Row]:
    """Merge builds that wait or failed for one cause into one row, in the place of the first."""
    causes: dict[Outcome, list[Row]] = {}
    for row in rows:
        if _is_shared(row.outcome) and not row.earlier:
            causes.setdefault(row.outcome, []).append(row)
    shared = {outcome: same for outcome, same in causes.items() if len(same) > _MOST_ALIKE}
    found = []
    for row in rows:
        same = shared.get(row.outcome, [])
        if row in same[1:]:
            continue
        name = _and_more([one.id for one in same]) if same and not row.earlier else row.id
        found.append(replace(row, id=name))
    return found


def _is_shared(outcome: Outcome) -> bool:
    """Return whether the cause is printed with another row."""
    return outcome.kind in (Kind.BLOCKED, Kind.WAITING) or outcome == HAS_MISTAKE


def _render(rows: list[Row]) -> str:
    header = ("build", "status", "time", "file", "KiB", "SRAM KiB", *HEADLINES.values())
    lines = [header, *(_cells(row) for row in rows)]
    used = [i for i in range(len(header)) if i < 3 or any(line[i] for line in lines[1:])]
    widths = [max(len(line[i]) for line in lines) for i in range(len(header))]
    text = ["  ".join(line[i].ljust(widths[i]) for i in used).rstrip() for line in lines]
    text.insert(1, "  ".join("-" * widths[i] for i in used))
    return "\n".join(text)


def _cells(row: Row) -> tuple[str, ...]:
    metrics = dict(row.metrics)
    accuracy = (f"{metrics[name]:.4f}" if name in metrics else "" for name in HEADLINES)
    sizes = (f"{size / 1024:.0f}" if size else "" for size in (row.bytes, row.sram_bytes))
    return (
        row.id,
        status_text(_short(row.outcome), row.proved or not row.good),
        duration(row.seconds) if row.seconds else "",
        Path(row.file).name,
        *sizes,
        *accuracy,
    )


_ADVICE = (
    "look at the data with `buildsys check --data`; train longer, or, for a given file, check"
    " `pixels`, `decoder` and the order of `classes`"
)


def _untrained(row: Row) -> str:
    """Return what the accuracy has in common with that of an untrained network; empty if nothing.

    A build without gates does not report it otherwise.
    """
    metrics = dict(row.metrics) if row.good else {}
    classes = {name: value for name, value in metrics.items() if name.startswith("top1.")}
    if len(classes) > 1 and "top1" in metrics:
        right = [name.removeprefix("top1.") for name, value in classes.items() if value]
        if len(right) == 1:
            return f"it is only right about images of class {right[0]}"
        count = len(classes) + len(row.without_objects)
        if metrics["top1"] <= 1 / count:
            return f"top-1 is not above chance among {count} classes"
    labels = {label: metrics[name] for name, label in HEADLINES.items() if name in metrics}
    zero = [label for label, value in labels.items() if f"{value:.4f}" == "0.0000"]
    if not zero:
        return ""
    if len(zero) == len(labels):
        return "no detection matches a label, every metric is 0"
    return f"{' and '.join(zero)} {'is' if len(zero) == 1 else 'are'} 0"


def _short(outcome: Outcome) -> str:
    """Return the outcome in the width of a column; reasons of a rejection follow the table."""
    text = str(outcome)
    return outcome.headline if len(text) > _WIDEST else text


def annotate(rows: list[Row]) -> list[str]:
    """Format rows that failed or differ from buildsys.lock as GitHub workflow commands."""
    kinds = {True: "warning", False: "error"}
    differing = [
        annotation("warning", f"{row.status}: {'; '.join(row.outcome.differs)}", title=row.id)
        for row in rows
        if row.outcome.differs
    ]
    return differing + [
        annotation(kinds[row.outcome.kind == Kind.WAITING], row.status, title=row.id)
        for row in fold(rows)
        if not row.good and not row.is_loser
    ]
