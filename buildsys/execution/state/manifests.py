"""Types that read and write manifest.json and build.json of a package.

Both files are made again when their build runs; an invalid file counts as absent.
"""

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TypeVar

from buildsys.files import read_regular
from buildsys.names import check_names
from buildsys.records import Digest, Size
from buildsys.typed_json import parse

T = TypeVar("T")
_OPTIONAL = frozenset({"trained", "selection", "maximize", "minimize"})
"""Fields of a manifest that are left out if they are empty."""


@dataclass(frozen=True, kw_only=True)
class ManifestFile:
    """A file of the package."""

    bytes: Size
    sha256: Digest


@dataclass(frozen=True, kw_only=True)
class ManifestTarget:
    """The target that the package was built for."""

    name: str
    label: str


@dataclass(frozen=True, kw_only=True)
class Trained:
    """Where a network was trained."""

    device: str
    torch: str


@dataclass(frozen=True, kw_only=True)
class ManifestStep:
    """A step with its key, parameters, tools and digests; `trained`: for a recorded training."""

    stage: str
    module: str
    action_key: Digest
    tool: str
    tool_lock: str
    code: str
    params: dict[str, object]
    inputs: dict[str, Digest]
    outputs: dict[str, Digest]
    trained: Trained | None = None


@dataclass(frozen=True, kw_only=True)
class ManifestSelection:
    """The variant that ships, the metric that decided, and the candidates."""

    chosen: str
    among: object
    maximize: str = ""
    minimize: str = ""


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """What a package was made from; written by `packages.manifest`. `evidence`: by stage."""

    buildsys: str
    build: str
    target: ManifestTarget
    files: dict[str, ManifestFile]
    preprocessing: dict[str, object] | None
    steps: tuple[ManifestStep, ...]
    evidence: dict[str, object]
    unverified: tuple[str, ...]
    licences: tuple[str, ...]
    selection: ManifestSelection | None = None

    @property
    def sizes(self) -> dict[str, tuple[int, str]]:
        """Return {path in the package: (bytes, sha256)}."""
        return {name: (file.bytes, file.sha256) for name, file in self.files.items()}

    @property
    def chosen(self) -> str:
        """Return the build that a selection ships; empty for other builds."""
        return self.selection.chosen if self.selection is not None else ""


@dataclass(frozen=True, kw_only=True)
class DiaryStep:
    """Where a step's result came from, and the seconds that it took; None if it was not made.

    `cpu`, `kernels` by library: of the machine that made it, which may differ from the package's
    `host`.
    """

    stage: str
    seconds: float | None
    this_run: str
    environment: str
    isolation: str
    cpu: str = ""
    kernels: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class DiaryHost:
    """The machine that built the package."""

    system: str
    machine: str
    cores: int | None
    cpu: str = ""
    instructions: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Diary:
    """build.json: when, where and how long.

    `differs_from_lock`: sentences about differences from buildsys.lock at the time of the build.
    """

    build: str
    finished: str
    host: DiaryHost
    steps: tuple[DiaryStep, ...]
    differs_from_lock: tuple[str, ...] = ()


def as_json(manifest: Manifest) -> dict[str, object]:
    """Return a manifest in the form in which it is written."""
    return asdict(manifest, dict_factory=_without_optional)


def _without_optional(pairs: list[tuple[str, object]]) -> dict[str, object]:
    return {name: value for name, value in pairs if value or name not in _OPTIONAL}


def read_manifest(folder: Path) -> Manifest | None:
    """Return the manifest of a package; None if it is missing or invalid."""
    try:
        return load_manifest(folder)
    except (OSError, ValueError):
        return None


def load_manifest(folder: Path) -> Manifest:
    """Return the manifest of a package. Raises OSError; ValueError if it is invalid."""
    found = parse(Manifest, read_regular(folder / "manifest.json"))
    check_names(found.files)
    return found


def read_diary(folder: Path) -> Diary | None:
    """Return the diary of a package; None if it is missing or invalid."""
    return _read(Diary, folder / "build.json")


def _read(kind: type[T], path: Path) -> T | None:
    try:
        return parse(kind, read_regular(path))
    except (OSError, ValueError):
        return None
