"""ONNX and TFLite files read with the standard library, and files of other kinds."""

import random
import struct
from pathlib import Path

import pytest

from buildsys.steps.lib.families.exported_metadata import describe_export, tflite_metadata
from buildsys.steps.lib.files import tflite
from buildsys.steps.lib.files.edge import Edge as FileEdge
from buildsys.steps.lib.files.foreign import UnreadableModel
from buildsys.steps.lib.files.onnx_header import read_header
from buildsys.steps.lib.files.tflite_rounding import read_steps
from tests.given_models import Edge, field, onnx_bytes, tflite_bytes

ONNX = onnx_bytes(
    inputs=(Edge(name="images", shape=("batch", 3, 640, 640), dtype="float16"),),
    outputs=(Edge(name="boxes", shape=("batch", 8400, 64)),),
    operators=("Conv", "Relu", "Conv"),
    metadata={"task": "detect"},
    external="x.onnx.data",
)
NOT_MODELS = {
    "empty": (b"", "the file is empty"),
    "pointer": (
        b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n",
        "this is a Git LFS pointer",
    ),
    "page": (b"\n<!DOCTYPE html>\n<html><body>404</body></html>", "this is a page of a web site"),
    "archive": (b"PK\x03\x04 and so on", "this is an archive"),
    "text": (b'{"error": "not found"}', "this is a JSON text"),
}


def test_an_onnx_file_says_what_it_takes_and_gives(tmp_path: Path) -> None:
    """The inputs and outputs of an ONNX file; weights that old files list as inputs are excluded."""
    (tmp_path / "x.onnx").write_bytes(ONNX)
    header = read_header(tmp_path / "x.onnx")
    assert header.inputs == (FileEdge(name="images", shape=(None, 3, 640, 640), dtype="float16"),)
    assert header.outputs == (FileEdge(name="boxes", shape=(None, 8400, 64), dtype="float32"),)
    assert header.operators == (("", "Conv"), ("", "Relu"))
    assert (header.opset, header.ir) == (17, 8)
    assert header.external == ("x.onnx.data",)
    assert header.metadata == {"task": "detect"}


def test_a_tflite_file_says_what_it_takes_and_gives() -> None:
    """The inputs and outputs of a TFLite file; open axes are in the signature, unknown operators
    are listed by code.
    """
    image = Edge(name="x", shape=(-1, 96, 96, 3), dtype="int8", scale=0.5, zero_point=-128)
    file = tflite.parse(tflite_bytes((image,), operators=("CONV_2D", "ethos-u", "CONV_2D")))
    (given,) = file.inputs
    assert (given.name, given.shape, given.dtype) == ("x", (1, 96, 96, 3), "int8")
    assert (given.scales, given.zero_points) == ((0.5,), (-128,))
    assert file.signatures == ((-1, 96, 96, 3),)
    assert file.operators == (("CONV_2D", 2), ("ethos-u", 1))


def test_a_tflite_file_computes_in_integers_whatever_it_gives_in_the_end(tmp_path: Path) -> None:
    """A file computes in integers if only its last operators convert to float."""
    real = Edge(name="y", shape=(1, 8))
    whole = Edge(name="y", shape=(1, 8), dtype="int8", scale=0.5)

    def computes(operators: tuple[str, ...], output: Edge) -> bool:
        path = tmp_path / "x.tflite"
        path.write_bytes(tflite_bytes(outputs=(output,), operators=operators))
        return tflite.computes_in_integers(path)

    assert computes(("CONV_2D", "ethos-u"), whole)
    assert computes(("DEQUANTIZE",), real)
    assert not computes(("CONV_2D",), real)


@pytest.mark.parametrize(
    ("operators", "scale", "maker", "step"),
    [
        (("Gemm", "Softmax"), field(2, 1) + field(9, struct.pack("<f", 0.5)), "Softmax", 0),
        (
            ("Gemm", "Softmax", "QuantizeLinear", "DequantizeLinear"),
            field(2, 1) + field(9, struct.pack("<f", 0.125)),
            "Softmax",
            0.125,
        ),
        (
            ("QLinearSoftmax", "DequantizeLinear", "Reshape"),
            field(2, 1) + field(4, struct.pack("<2f", 0.125, 0.25)),
            "QLinearSoftmax",
            0.25,
        ),
        (("Softmax", "DequantizeLinear"), field(2, 10) + field(9, b"\x00\x30"), "Softmax", 0.125),
        (("Softmax", "DequantizeLinear"), field(2, 16) + field(9, b"\0\0"), "Softmax", 1 / 256),
        (("Softmax", "DequantizeLinear"), field(2, 1) + field(9, b"\0"), "Softmax", 1 / 256),
        (("Softmax", "DequantizeLinear"), field(2, 1), "Softmax", 1 / 256),
        (("QuantizeLinear", "DequantizeLinear", "Gemm"), field(2, 1), "Gemm", 0),
    ],
)
def test_an_onnx_file_states_how_its_outputs_are_rounded(
    operators: tuple[str, ...], scale: bytes, maker: str, step: float, tmp_path: Path
) -> None:
    """Operators that quantize keep values, rounded to multiples of a constant."""
    content = onnx_bytes(operators=operators, chain=True, constants=(("scale", scale),))
    (tmp_path / "x.onnx").write_bytes(content)
    header = read_header(tmp_path / "x.onnx")
    assert header.makers == (maker,)
    assert header.steps == (step,)


@pytest.mark.parametrize(
    ("operators", "dtypes", "step"),
    [
        (("CONV_2D", "SOFTMAX"), ("int8", "float32"), 0),
        (("CONV_2D", "SOFTMAX"), ("int8", "int8"), 0.125),
        (("SOFTMAX", "DEQUANTIZE"), ("int8", "float32"), 0.125),
        (("DEQUANTIZE", "SOFTMAX"), ("int8", "float32"), 0),
    ],
)
def test_a_tflite_file_states_how_its_outputs_are_rounded(
    operators: tuple[str, ...], dtypes: tuple[str, str], step: float, tmp_path: Path
) -> None:
    """The integers that an output is, or is made of without another operator, round it."""
    inner, output = (
        Edge(name=name, shape=(1, 8), dtype=dtype, scale=0.125 if dtype == "int8" else 0)
        for name, dtype in zip(("inner", "y"), dtypes, strict=True)
    )
    content = tflite_bytes(outputs=(output,), operators=operators, between=(inner,))
    (tmp_path / "x.tflite").write_bytes(content)
    assert read_steps(tmp_path / "x.tflite") == (step,)


def test_outputs_are_reordered_in_place() -> None:
    """Reordering outputs changes no other byte."""
    outputs = (Edge(name="a", shape=(1, 2)), Edge(name="b", shape=(1, 3)))
    before = tflite_bytes(outputs=outputs)
    after = tflite.reorder_outputs(before, (1, 0))
    assert [tensor.name for tensor in tflite.parse(after).outputs] == ["b", "a"]
    assert sum(x != y for x, y in zip(before, after, strict=True)) == 2


@pytest.mark.parametrize("kind", NOT_MODELS)
def test_what_is_no_model_is_called_what_it_is(tmp_path: Path, kind: str) -> None:
    """A file of another kind is named, with the same message for both formats."""
    data, told = NOT_MODELS[kind]
    (tmp_path / "x").write_bytes(data)
    with pytest.raises(UnreadableModel, match=told):
        read_header(tmp_path / "x")
    with pytest.raises(UnreadableModel, match=told):
        tflite.parse(data)


@pytest.mark.parametrize("whole", [ONNX, tflite_bytes()], ids=["onnx", "tflite"])
def test_damage_is_reported_or_read(tmp_path: Path, whole: bytes) -> None:
    """A truncated or changed file is read or raises UnreadableModel."""
    rng, told = random.Random(0), 0
    changed = [whole[:length] for length in range(1, len(whole), 7)]
    for _ in range(300):
        damaged = bytearray(whole)
        damaged[rng.randrange(len(whole))] = rng.randrange(256)
        changed.append(bytes(damaged))
    for data in changed:
        (tmp_path / "x").write_bytes(data)
        try:
            tflite.parse(data) if whole[4:8] == b"TFL3" else read_header(tmp_path / "x")
        except UnreadableModel:
            told += 1
    assert told > len(whole) // 20


def test_ultralytics_metadata(tmp_path: Path) -> None:
    """Ultralytics' metadata is read: Python literals in ONNX, appended JSON in TFLite."""
    words = {"task": "pose", "names": "{0: 'tag', 1: 'no'}", "kpt_shape": "[4, 3]"}
    found = describe_export(words | {"imgsz": "[96, 160]"})
    assert found is not None
    assert (found.task, found.names, found.keypoints, found.size) == ("pose", ("tag", "no"), 4, 96)
    text = '{"task": "detect", "names": {"0": "a", "10": "c", "2": "b"}}'
    (tmp_path / "x.tflite").write_bytes(tflite_bytes(metadata=text))
    found = describe_export(tflite_metadata(tmp_path / "x.tflite"))
    assert found is not None
    assert found.names == ("a", "b", "c")


@pytest.mark.parametrize(
    "words",
    [
        {},
        {"task": "detect"},
        {"task": "fly", "names": "{0: 'a'}"},
        {"task": "detect", "names": "__import__('os')"},
        {"task": "detect", "names": "{0: 1}"},
        {"task": "detect", "names": "[" * 5000},
    ],
)
def test_other_metadata_says_nothing(words: dict[str, str]) -> None:
    """Other metadata is ignored."""
    assert describe_export(words) is None


def test_operators_of_inner_graphs_count_and_those_of_its_own_functions_do_not(
    tmp_path: Path,
) -> None:
    """Operators in subgraphs and function bodies count; calls of the file's own functions do not."""
    inner = field(1, field(4, b"Foo") + field(7, b"my.dom"))
    branch = field(1, b"then_branch") + field(6, inner)
    condition = field(1, field(4, b"If") + field(5, branch))
    called = field(1, field(4, b"Mine") + field(7, b"own"))
    graph = condition + called + field(12, field(1, b"y"))
    function = field(1, b"Mine") + field(10, b"own") + field(7, field(4, b"Relu"))
    opset = field(8, field(1, b"ai.onnx") + field(2, 17))
    file = tmp_path / "x.onnx"
    file.write_bytes(field(1, 8) + field(7, graph) + opset + field(25, function))
    assert read_header(file).operators == (("", "If"), ("", "Relu"), ("my.dom", "Foo"))
    assert read_header(file).opset == 17
