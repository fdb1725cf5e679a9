"""manifest.json and build.json of a package: one type each, to write and to read them.

Both are made again when their build runs; what does not validate counts as absent.
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
"""Fields of a manifest that are left out where they say nothing."""


@dataclass(frozen=True, kw_only=True)
class ManifestFile:
    """A file of the package."""

    bytes: Size
    sha256: Digest


@dataclass(frozen=True, kw_only=True)
class ManifestTarget:
    """What it was built for."""

    name: str
    label: str


@dataclass(frozen=True, kw_only=True)
class Trained:
    """Where a network was trained."""

    device: str
    torch: str


@dataclass(frozen=True, kw_only=True)
class ManifestStep:
    """A step with its key, parameters, tools and digests; `trained`: of a recorded training."""

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
    """Which variant ships, by which figure, among what."""

    chosen: str
    among: object
    maximize: str = ""
    minimize: str = ""


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """What was made from what, see `packages.manifest`, which writes it. `evidence` by stage."""

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
        """{path inside: (bytes, sha256)}."""
        return {name: (file.bytes, file.sha256) for name, file in self.files.items()}

    @property
    def chosen(self) -> str:
        """Of a selection, the build that ships; else empty."""
        return self.selection.chosen if self.selection is not None else ""


@dataclass(frozen=True, kw_only=True)
class DiaryStep:
    """How a step's result came, and how long it took when it was made; None where it was not.

    `cpu`, `kernels` by library: of the machine that made it, which need not be the package's `host`.
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
    """The machine."""

    system: str
    machine: str
    cores: int | None
    cpu: str = ""
    instructions: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Diary:
    """build.json: when, where and how long; `differs_from_lock`: in sentences, where the build is not what
    buildsys.lock recorded then.
    """

    build: str
    finished: str
    host: DiaryHost
    steps: tuple[DiaryStep, ...]
    differs_from_lock: tuple[str, ...] = ()


def as_json(manifest: Manifest) -> dict[str, object]:
    """A manifest as it is written."""
    return asdict(manifest, dict_factory=_without_optional)


def _without_optional(pairs: list[tuple[str, object]]) -> dict[str, object]:
    return {name: value for name, value in pairs if value or name not in _OPTIONAL}


def read_manifest(folder: Path) -> Manifest | None:
    """The manifest of a package; None where there is none that is whole."""
    try:
        return load_manifest(folder)
    except (OSError, ValueError):
        return None


def load_manifest(folder: Path) -> Manifest:
    """The manifest of a package. Raises OSError, and ValueError where it is not whole."""
    found = parse(Manifest, read_regular(folder / "manifest.json"))
    check_names(found.files)
    return found


def read_diary(folder: Path) -> Diary | None:
    """The diary of a package; None where there is none that is whole."""
    return _read(Diary, folder / "build.json")


def _read(kind: type[T], path: Path) -> T | None:
    try:
        return parse(kind, read_regular(path))
    except (OSError, ValueError):
        return None
