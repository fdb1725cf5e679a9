"""measurements/<build id>.json: latency that was measured on devices, committed beside the recipes.

A figure is of one file, known by its sha256: as soon as another file ships, it is shown as one of
an earlier file, and counts no more.
"""

import json
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, get_type_hints

from buildsys import typed_json
from buildsys.errors import InputError
from buildsys.execution.places import Workspace
from buildsys.files import write_atomic, writing

Identity = tuple[str, str, int, str, int, str]
_BATCH = "batch"
_HEADER = "Latency measured on devices; written by `buildsys import-benchmark`."


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """One figure: times in milliseconds; None where the tool did not say.

    `label` "measured on a device"; `engine` with its accelerators where those are not the CPU;
    `sha256` of the file that ran; `format` of it: tflite, engine; `what` was timed; `source`: the
    tool whose file was read; `note`: what a reader has to know; `batch`: pictures of an inference,
    of engines alone.
    """

    label: str
    engine: str
    version: str | None
    device: str
    threads: int | None
    runs: int
    warmup: int | None
    mean_ms: float
    min_ms: float
    max_ms: float
    p50_ms: float | None
    p90_ms: float | None
    p95_ms: float | None
    p99_ms: float | None
    sha256: str
    format: str
    what: str
    source: str
    note: str
    batch: int | None = None

    @property
    def identity(self) -> Identity:
        """What there is one figure of; 0 threads, or a batch of 0, where that was not said."""
        of = self.device, self.engine, self.threads or 0, self.sha256
        return *of, self.batch or 0, self.what

    def row(self) -> dict[str, object]:
        """As it is written; without a batch where there is none."""
        known = asdict(self)
        return known if self.batch is not None else {k: v for k, v in known.items() if k != _BATCH}


@dataclass(frozen=True, kw_only=True)
class Measurements:
    """Of one build: figures of the file that ships, and of files that shipped before it."""

    current: tuple[Measurement, ...]
    earlier: tuple[Measurement, ...]

    def rows(self) -> list[dict[str, object]]:
        """As latency.json has them; `of` says which count."""
        named = (("the shipped file", self.current), ("an earlier file", self.earlier))
        return [{**item.row(), "of": of} for of, items in named for item in items]


def entries(workspace: Workspace, build: str, sha256: str) -> Measurements:
    """A build's figures, those of the file with this digest apart. Raises InputError."""
    known = read(workspace, build)
    return Measurements(
        current=tuple(item for item in known if item.sha256 == sha256),
        earlier=tuple(item for item in known if item.sha256 != sha256),
    )


def place(workspace: Workspace, build: str) -> Path:
    """Where a build's figures are kept."""
    return workspace.root / "measurements" / f"{build}.json"


def read(workspace: Workspace, build: str) -> tuple[Measurement, ...]:
    """All figures of a build, sorted; none where there is no file. Raises InputError."""
    path = place(workspace, build)
    try:
        rows = typed_json.read(path.read_bytes())["measurements"]  # type: ignore[index]
        return tuple(sorted(map(_parse, rows), key=lambda item: item.identity))
    except FileNotFoundError:
        return ()
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        label = str(path.relative_to(workspace.root))
        message = f"these are no measurements: {_reason(error)}"
        hint = "bring back what was committed (an unfinished merge?), or delete the file"
        raise InputError.at(label, message, hint) from error


def record(
    workspace: Workspace, build: str, fresh: tuple[Measurement, ...]
) -> tuple[Measurement, ...]:
    """Add figures; returns those that gave way to them. Raises InputError, CannotWrite."""
    kept = {item.identity: item for item in read(workspace, build)}
    replaced = tuple(kept[item.identity] for item in fresh if item.identity in kept)
    kept |= {item.identity: item for item in fresh}
    rows = [kept[identity].row() for identity in sorted(kept)]
    text = json.dumps(
        {"about": _HEADER, "measurements": rows}, indent=1, ensure_ascii=False, allow_nan=False
    )
    path = workspace.own(place(workspace, build))
    with writing(f"measurements/{path.name}", workspace.root):
        write_atomic(path, text + "\n")
    return replaced


def _parse(row: dict[str, Any]) -> Measurement:
    """A row as it was written. Raises ValueError, TypeError."""
    names = {field.name for field in fields(Measurement)}
    if row.keys() | {_BATCH} != names:
        different = sorted((row.keys() | {_BATCH}) ^ names)
        raise ValueError(f"a row has other keys than they have ({', '.join(different)[:100]})")
    for name, kind in get_type_hints(Measurement).items():
        try:
            typed_json.decode(kind, row.get(name))
        except ValueError as error:
            raise ValueError(f"a row whose `{name}` is of another kind ({error})") from error
    return Measurement(**row)


def _reason(error: Exception) -> str:
    if isinstance(error, json.JSONDecodeError):
        return f"line {error.lineno} is no JSON"
    return str(error) if type(error) is ValueError else "rows are missing or of another kind"
