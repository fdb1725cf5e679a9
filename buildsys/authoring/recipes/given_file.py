"""A finished file that a recipe names, opened: what it takes, what it gives, what it says of itself.

Both formats in one value; no framework opens the file, and nothing in it is executed.
"""

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from buildsys.spec import CheckpointFacts, Format
from buildsys.steps.lib.families import exported_metadata
from buildsys.steps.lib.files import onnx_header, tflite
from buildsys.steps.lib.files.foreign import UnreadableModel

__all__ = ["Edge", "GivenFile", "UnreadableModel", "read_given"]

_SUPPRESSING = ("NonMaxSuppression", "EfficientNMS_TRT", "BatchedNMS_TRT")
_TFLITE_SUPPRESSING = (
    "NON_MAX_SUPPRESSION_V4",
    "NON_MAX_SUPPRESSION_V5",
    "TFLite_Detection_PostProcess",
)


@dataclass(frozen=True, kw_only=True)
class Edge:
    """An input or output; `shape` has -1 for an open axis, and is empty where nothing is said."""

    name: str
    shape: tuple[int, ...]
    dtype: str

    def __str__(self) -> str:
        """ "output0 float32 [1, 84, 8400]"."""
        sides = ", ".join("?" if side < 0 else str(side) for side in self.shape)
        return f"{self.name} {self.dtype} [{sides}]"


@dataclass(frozen=True, kw_only=True)
class GivenFile:
    """An ONNX or TFLite file as it is.

    `external`: files that hold its weights beside it; `says`: what its exporter wrote into it, None
    where nothing is known; `suppresses`: whether non-maximum suppression is a part of it; `tflite_file`:
    the same file in the words of steps that check it; `layers`: its operators, with what they came from.
    """

    format: Format
    inputs: tuple[Edge, ...]
    outputs: tuple[Edge, ...]
    external: tuple[str, ...] = ()
    says: CheckpointFacts | None = None
    suppresses: bool = False
    tflite_file: tflite.File | None = None
    layers: tuple[tuple[str, tuple[str, ...]], ...] = ()

    @property
    def size(self) -> tuple[int, int] | None:
        """Height and width of the pictures; None where it takes no RGB pictures, or any size."""
        if len(self.inputs) != 1 or len(self.inputs[0].shape) != 4:
            return None
        _, first, second, third = self.inputs[0].shape
        channels, height, width = (
            (first, second, third) if self.format == Format.ONNX else (third, first, second)
        )
        return (height, width) if channels == 3 and min(height, width) > 0 else None


def read_given(path: Path, form: Format) -> GivenFile:
    """Of an ONNX or TFLite file. Raises OSError, UnreadableModel."""
    stat = path.stat()
    return _read_once(path, form, (stat.st_mtime_ns, stat.st_ctime_ns, stat.st_size, stat.st_ino))


@lru_cache(maxsize=64)
def _read_once(path: Path, form: Format, stat: tuple[int, ...]) -> GivenFile:
    """However many builds name it; `stat` changes when the file does."""
    return _read_tflite(path) if form == Format.TFLITE else _read_onnx(path)


def _read_onnx(path: Path) -> GivenFile:
    header = onnx_header.read_header(path)
    inputs, outputs = (
        tuple(
            Edge(
                name=edge.name,
                shape=tuple(-1 if side is None else side for side in edge.shape or ()),
                dtype=edge.dtype,
            )
            for edge in edges
        )
        for edges in (header.inputs, header.outputs)
    )
    return GivenFile(
        format=Format.ONNX,
        inputs=inputs,
        outputs=outputs,
        external=header.external,
        says=exported_metadata.describe_export(header.metadata),
        suppresses=bool(header.operators.intersection(_SUPPRESSING))
        or exported_metadata.has_suppression(header.metadata),
    )


def _read_tflite(path: Path) -> GivenFile:
    file = tflite.parse(path.read_bytes())
    metadata = exported_metadata.tflite_metadata(path)
    shapes = file.signatures
    return GivenFile(
        format=Format.TFLITE,
        inputs=tuple(
            Edge(name=tensor.name, shape=shape, dtype=tensor.dtype)
            for tensor, shape in zip(file.inputs, shapes, strict=True)
        ),
        outputs=tuple(
            Edge(name=tensor.name, shape=tensor.shape, dtype=tensor.dtype)
            for tensor in file.outputs
        ),
        says=exported_metadata.describe_export(metadata),
        suppresses=any(name in _TFLITE_SUPPRESSING for name, _ in file.operators)
        or exported_metadata.has_suppression(metadata),
        tflite_file=file,
        layers=tuple(tflite.read_operators(path).items()),
    )
