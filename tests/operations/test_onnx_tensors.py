"""Inputs and outputs of ONNX files, written here byte by byte: no library for them is installed."""

from pathlib import Path

import pytest

from buildsys.operations.onnx_tensors import Tensors, differ, read_tensors


def field(number: int, value: int | bytes) -> bytes:
    """One field of a message."""
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    return varint(number << 3 | 2) + varint(len(value)) + value


def varint(value: int) -> bytes:
    """Seven bits a byte, the lowest first."""
    first, rest = value & 127, value >> 7
    return bytes([first | 128]) + varint(rest) if rest else bytes([first])


def tensor(name: str, *sides: int | str) -> bytes:
    """A ValueInfoProto of float32."""
    dims = b"".join(
        field(1, field(1, side) if isinstance(side, int) else field(2, side.encode()))
        for side in sides
    )
    return field(1, name.encode()) + field(2, field(1, field(1, 1) + field(2, dims)))


MODEL = field(1, 8) + field(
    7,
    b"".join(
        (
            field(5, field(8, b"weights") + field(9, bytes(300))),
            field(11, tensor("images", "batch", 3, 640, 640)),
            field(11, tensor("weights", 4)),
            field(12, tensor("boxes", "batch", 8400, 64)),
            field(12, field(1, b"extra")),
        )
    ),
)


def test_a_file_tells_its_tensors(tmp_path: Path) -> None:
    """Weights that old files list among the inputs are none."""
    (tmp_path / "x.onnx").write_bytes(MODEL)
    assert read_tensors(tmp_path / "x.onnx") == Tensors(
        inputs={"images": (None, 3, 640, 640)}, outputs={"boxes": (None, 8400, 64), "extra": None}
    )


@pytest.mark.parametrize("data", [b"", b"no model", MODEL[:-1], MODEL[:40], b"\xff" * 20])
def test_what_is_no_model_is_refused(tmp_path: Path, data: bytes) -> None:
    """Nothing but ValueError: callers go on without."""
    (tmp_path / "x.onnx").write_bytes(data)
    with pytest.raises(ValueError):  # noqa: PT011, several sentences
        read_tensors(tmp_path / "x.onnx")


def test_another_network_is_told() -> None:
    """By names first, then by shapes; an axis that the file leaves open is any."""
    wanted = Tensors(inputs={"images": (None, 3, 8, 8)}, outputs={"boxes": (1, 4)})
    facts = {
        "inputs": [{"name": "images", "shape": [-1, 3, 8, 8]}],
        "outputs": [{"name": "boxes", "shape": [1, 4]}],
    }
    assert differ(facts, wanted) == ""
    facts["outputs"] = [{"name": "boxes", "shape": [1, 5]}]
    assert differ(facts, wanted) == "has the output boxes of 1 x 5, and the network of 1 x 4"
    facts["inputs"] = [{"name": "x", "shape": [-1, 3, 8, 8]}]
    assert differ(facts, wanted) == "has the inputs x, and the network images"
