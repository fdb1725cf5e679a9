"""Reads a finished file that a recipe names: its inputs, its outputs, its metadata.

No framework opens the file, and nothing in it is executed.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from buildsys.files import stat_line
from buildsys.spec import CheckpointFacts, Format
from buildsys.steps.lib.families import exported_metadata
from buildsys.steps.lib.files import onnx_header, tflite
from buildsys.steps.lib.files.edge import Edge
from buildsys.steps.lib.files.foreign import UnreadableModel

__all__ = ["Edge", "GivenFile", "OnnxFile", "TfliteFile", "UnreadableModel", "read_given"]

_LARGEST = 2 << 30
"""Bytes: offsets in FlatBuffers and lengths in protobuf are signed numbers of 32 bits."""
_LONGEST_LICENCE = 200
_SUPPRESSING = ("NonMaxSuppression", "EfficientNMS_TRT", "BatchedNMS_TRT")
_TFLITE_SUPPRESSING = (
    "NON_MAX_SUPPRESSION_V4",
    "NON_MAX_SUPPRESSION_V5",
    "TFLite_Detection_PostProcess",
)


@dataclass(frozen=True, kw_only=True)
class OnnxFile:
    """An ONNX file's content.

    `stated`: facts that its exporter wrote, None without any; `suppresses`: whether it contains
    non-maximum suppression; `external`: files beside it with its weights; `ir`, `opset`,
    `operators`: from its header; `licence`: from its metadata, empty without one; `makers`: the operator
    that computes the values of each output; `half`: whether it holds numbers in float16.
    """

    inputs: tuple[Edge, ...]
    outputs: tuple[Edge, ...]
    stated: CheckpointFacts | None
    suppresses: bool
    external: tuple[str, ...]
    ir: int
    opset: int | None
    operators: tuple[tuple[str, str], ...]
    licence: str
    makers: tuple[str, ...]
    half: bool

    @property
    def size(self) -> tuple[int, int] | None:
        """Return height and width of its images; None if it takes no RGB images, or any size."""
        match self.inputs:
            case [Edge(shape=(_, 3, int(height), int(width)))]:
                return height, width
        return None


@dataclass(frozen=True, kw_only=True)
class TfliteFile:
    """A TFLite file's content.

    `stated`, `suppresses`, `licence` and `makers`: as for an ONNX file; `file`: the same for the steps that
    check it; `layers`: its operators, with their origins; `pixel_keypoints`: whether its exporter
    gave keypoints in pixels beside boxes as shares of the image.
    """

    inputs: tuple[Edge, ...]
    outputs: tuple[Edge, ...]
    stated: CheckpointFacts | None
    suppresses: bool
    file: tflite.File
    layers: tuple[tuple[str, tuple[str, ...]], ...]
    licence: str
    pixel_keypoints: bool
    makers: tuple[str, ...]

    @property
    def size(self) -> tuple[int, int] | None:
        """Return height and width of its images; None if it takes no RGB images, or any size."""
        match self.inputs:
            case [Edge(shape=(_, int(height), int(width), 3))]:
                return height, width
        return None


GivenFile = OnnxFile | TfliteFile


def read_given(path: Path, form: Format) -> GivenFile:
    """Read an ONNX or TFLite file. Raises OSError, UnreadableModel."""
    stat = path.stat()
    if stat.st_size > _LARGEST:
        what = f"the file has {stat.st_size} bytes; the limit is 2 GiB"
        raise UnreadableModel(what, "check that this is the right file")
    return _read_once(path, form, stat_line(stat))


@lru_cache(maxsize=64)
def _read_once(path: Path, form: Format, stat: str) -> GivenFile:
    """Read once for all builds that name the file; `stat` changes when the file does."""
    return _read_tflite(path) if form == Format.TFLITE else _read_onnx(path)


def _read_onnx(path: Path) -> OnnxFile:
    header = onnx_header.read_header(path)
    return OnnxFile(
        inputs=header.inputs,
        outputs=header.outputs,
        stated=exported_metadata.describe_export(header.metadata),
        suppresses=any(name in _SUPPRESSING for _, name in header.operators)
        or exported_metadata.has_suppression(header.metadata),
        external=header.external,
        ir=header.ir,
        opset=header.opset,
        operators=header.operators,
        licence=_licence(header.metadata),
        makers=header.makers,
        half=header.half,
    )


def _read_tflite(path: Path) -> TfliteFile:
    file = tflite.parse(path.read_bytes())
    metadata = exported_metadata.tflite_metadata(path)
    return TfliteFile(
        inputs=tuple(
            _tflite_edge(tensor, shape)
            for tensor, shape in zip(file.inputs, file.signatures, strict=True)
        ),
        outputs=tuple(_tflite_edge(tensor, tensor.shape) for tensor in file.outputs),
        stated=exported_metadata.describe_export(metadata),
        suppresses=any(name in _TFLITE_SUPPRESSING for name, _ in file.operators)
        or exported_metadata.has_suppression(metadata),
        file=file,
        layers=tuple(tflite.read_operators(path).items()),
        licence=_licence(metadata),
        pixel_keypoints=exported_metadata.has_pixel_keypoints(metadata),
        makers=file.makers,
    )


def _licence(metadata: Mapping[str, str]) -> str:
    """Return the licence in the metadata; empty unless it is one line of a usual length."""
    text = " ".join(metadata.get("license", "").split())
    return text if text.isprintable() and len(text) <= _LONGEST_LICENCE else ""


def _tflite_edge(tensor: tflite.Tensor, shape: tuple[int, ...]) -> Edge:
    """Return an input or output; -1 is an open axis, and a tensor with an open rank has no axes."""
    sides = tuple(None if side < 0 else side for side in shape)
    return Edge(name=tensor.name, shape=sides or None, dtype=tensor.dtype)
