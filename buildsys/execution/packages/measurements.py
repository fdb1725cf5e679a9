"""measurements/<build id>.json: latency that was measured on devices, committed beside the recipes.

A figure is of one file, known by its sha256: as soon as another file ships, it is shown as one of
an earlier file, and counts no more.
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from buildsys.committed_json import read_committed
from buildsys.execution.places import Workspace
from buildsys.files import write_atomic
from buildsys.records import Digest, Milliseconds, Size
from buildsys.write_errors import writing

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
    threads: Size | None
    runs: Size
    warmup: Size | None
    mean_ms: Milliseconds
    min_ms: Milliseconds
    max_ms: Milliseconds
    p50_ms: Milliseconds | None
    p90_ms: Milliseconds | None
    p95_ms: Milliseconds | None
    p99_ms: Milliseconds | None
    sha256: Digest
    format: str
    what: str
    source: str
    note: str
    batch: Size | None = None

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
class _File:
    measurements: tuple[Measurement, ...]
    about: str = ""


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
    hint = "restore the committed file (an unfinished merge?), or delete it"
    label, wrong = str(path.relative_to(workspace.root)), "the file does not contain measurements"
    try:
        found = read_committed(_File, path, label, wrong, hint)
    except FileNotFoundError:
        return ()
    return tuple(sorted(found.measurements, key=lambda item: item.identity))


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
