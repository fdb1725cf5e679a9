"""What a report says of engines, and what their makers' guides say of theirs, as values.

Part of report.json (see `values`). Digests are sha256 in hexadecimal, sizes bytes, times
milliseconds.
"""

from dataclasses import dataclass

Metrics = tuple[tuple[str, float], ...]


@dataclass(frozen=True, kw_only=True)
class EngineFacts:
    """What a build's engine is made of and for, whether or not it could be built here.

    `compute_capability` empty: any from 8.0 on. `batch`: least, best, most pictures of an inference;
    `height`, `width` pixels, 0 where nobody said. `network`: digest of the float ONNX file that all
    precisions come from; `source_bytes`: of the ONNX file that the engine is built from, 0 where it
    is not here. `lowered`: that file is of float32, and TensorRT lowers it while it builds: its
    accuracy is not the engine's.
    """

    library: str
    version: str
    compute_capability: str
    task: str
    scheme: str
    batch: tuple[int, ...]
    height: int
    width: int
    network: str = ""
    source_bytes: int = 0
    lowered: bool = False


@dataclass(frozen=True, kw_only=True)
class PublishedRow:
    """One precision of one task. `mean_ms`, `min_ms`, `max_ms`: of the device's larger batch;
    `single_ms`: mean of batch 1.
    """

    task: str
    scheme: str
    mean_ms: float
    min_ms: float
    max_ms: float
    single_ms: float
    metrics: Metrics


@dataclass(frozen=True, kw_only=True)
class PublishedDevice:
    """What a guide printed of one device. `words`: any of them in a target's label or name, in small
    letters, means this device; `note`: what a reader stumbles over.
    """

    device: str
    words: tuple[str, ...]
    compute_capability: str
    tensorrt: str
    ultralytics: str
    system: str
    note: str
    rows: tuple[PublishedRow, ...]


@dataclass(frozen=True, kw_only=True)
class Published:
    """Figures that somebody else measured and printed, and where: `file` at `commit`, `read` on a
    day. `about`: how they were taken; `caveat`: what to know before a time is compared.
    """

    source: str
    page: str
    file: str
    commit: str
    read: str
    about: str
    caveat: str
    model: str
    size: int
    batch: int
    devices: tuple[PublishedDevice, ...]
