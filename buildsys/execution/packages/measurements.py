"""measurements/<build id>.json: latency measured on devices, committed beside the recipes.

A figure belongs to one file, identified by its sha256: when another file ships, the figure is shown
as one of an earlier file and no longer counts.
"""

import json
from dataclasses import asdict, dataclass, replace
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
    """One figure; times in milliseconds; None where the tool does not report one.

    `label`: "measured on a device"; `engine`: with its accelerators unless it is the CPU; `sha256`
    of the file that ran; `format` of it: tflite, engine; `what` was timed; `source`: the tool whose
    file was read; `note`: what a reader has to know; `batch`: images per inference, for engines
    only.
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
        """Return what can have only one figure; unknown threads or an unknown batch count as 0."""
        of = self.device, self.engine, self.threads or 0, self.sha256
        return *of, self.batch or 0, self.what

    def replaces(self, other: "Measurement") -> bool:
        """Return whether an older figure is of the same; its batch may have been unknown."""
        if self.batch is not None and other.batch is None and self.source == other.source:
            return replace(other, batch=self.batch).identity == self.identity
        return other.identity == self.identity

    def row(self) -> dict[str, object]:
        """Return the figure as it is written; without a batch if it has none."""
        known = asdict(self)
        return known if self.batch is not None else {k: v for k, v in known.items() if k != _BATCH}


@dataclass(frozen=True, kw_only=True)
class _File:
    measurements: tuple[Measurement, ...]
    about: str = ""


@dataclass(frozen=True, kw_only=True)
class Measurements:
    """Figures of one build: of the file that ships, and of earlier files."""

    current: tuple[Measurement, ...]
    earlier: tuple[Measurement, ...]

    def rows(self) -> list[dict[str, object]]:
        """Return rows for latency.json; `of` says which file a row belongs to."""
        named = (("the shipped file", self.current), ("an earlier file", self.earlier))
        return [{**item.row(), "of": of} for of, items in named for item in items]


def entries(workspace: Workspace, build: str, sha256: str) -> Measurements:
    """Return a build's figures, separated by the digest of the current file. Raises InputError."""
    known = read(workspace, build)
    return Measurements(
        current=tuple(item for item in known if item.sha256 == sha256),
        earlier=tuple(item for item in known if item.sha256 != sha256),
    )


def place(workspace: Workspace, build: str) -> Path:
    """Return the file of a build's figures."""
    return workspace.root / "measurements" / f"{build}.json"


def read(workspace: Workspace, build: str) -> tuple[Measurement, ...]:
    """Return all figures of a build, sorted; empty without a file. Raises InputError."""
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
    """Add figures; returns those that they replace. Raises InputError, CannotWrite."""
    known = read(workspace, build)
    replaced = tuple(old for old in known if any(new.replaces(old) for new in fresh))
    kept = {item.identity: item for item in known if item not in replaced}
    kept |= {item.identity: item for item in fresh}
    rows = [kept[identity].row() for identity in sorted(kept)]
    text = json.dumps(
        {"about": _HEADER, "measurements": rows}, indent=1, ensure_ascii=False, allow_nan=False
    )
    path = workspace.own(place(workspace, build))
    with writing(f"measurements/{path.name}", workspace.root):
        write_atomic(path, text + "\n")
    return replaced
