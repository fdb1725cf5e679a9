"""Given model files: what `check` reports about them for recipe and target before any work."""

import hashlib
import itertools
import json
import os
from pathlib import Path

import pytest

from buildsys import cli
from buildsys.authoring.recipes import model
from buildsys.authoring.recipes.given_checks import guess_decoder
from buildsys.authoring.recipes.given_file import UnreadableModel, read_given
from buildsys.authoring.targets.lookup import Boards
from buildsys.spec import Format
from buildsys.steps import quantize_onnx
from tests.authoring.golden import HERE, compare
from tests.authoring.sample_workspace import plan_good, write_recipe
from tests.checkpoints import archive_of
from tests.given_models import Edge, onnx_bytes, picture, tflite_bytes
from tests.tools.places import draw

_WORDS = {"task": "detect", "names": "{0: 'person', 1: 'bicycle', 2: 'car'}", "imgsz": "[64, 64]"}


def _decoded(channels: int) -> Edge:
    """Ultralytics' own output for images of 64 x 64: 84 cells."""
    return Edge(name="output0", shape=(1, channels, 84))


IMAGE = picture(64, 64)
TRUE = onnx_bytes((IMAGE,), (_decoded(7),), metadata=_WORDS)
INT8 = Edge(name="images", shape=(1, 64, 64, 3), dtype="int8", scale=1 / 255, zero_point=-128)
_DETECT = "task: detect, decoder: yolov8-decoded"
_POSE = (
    '{"task": "pose", "names": {"0": "tag"}, "imgsz": [64, 64], "kpt_shape": [4, 3],'
    ' "version": "%s"}'
)
CASES: dict[str, tuple[bytes, str, str]] = {
    # name: (file, words of `source`, further lines)
    "pointer-onnx": (b"version https://git-lfs.github.com/spec/v1\noid\n", "", "input: {size: 64}"),
    "page-tflite": (b"<!DOCTYPE html><html>Not found", "", ""),
    "empty-onnx": (b"", "", "input: {size: 64}"),
    "cut-onnx": (TRUE[:-9], "", "input: {size: 64}"),
    "cut-tflite": (tflite_bytes()[:-9], "", ""),
    "external-onnx": (onnx_bytes((IMAGE,), external="x.onnx.data"), "", "input: {size: 64}"),
    "half-onnx": (
        onnx_bytes((Edge(name="images", shape=(1, 3, 64, 64), dtype="float16"),)),
        "",
        "input: {size: 64}\nquantization: {scheme: float32}\ntargets: [triton-onnx]",
    ),
    "channels-last-onnx": (
        onnx_bytes((Edge(name="images", shape=(1, 64, 64, 3)),)),
        "",
        "input: {size: 64}",
    ),
    "channels-first-tflite": (
        tflite_bytes((Edge(name="args_0", shape=(1, 3, 64, 64)),)),
        "",
        "input: {size: 64}",
    ),
    "grey-onnx": (
        onnx_bytes((Edge(name="images", shape=(1, 1, 64, 64)),)),
        "",
        "input: {size: 64}",
    ),
    "two-inputs-onnx": (onnx_bytes((IMAGE, IMAGE)), "", "input: {size: 64}"),
    "batch-onnx": (
        onnx_bytes((Edge(name="images", shape=(4, 3, 64, 64)),)),
        "",
        "input: {size: 64}",
    ),
    "size-onnx": (TRUE, _DETECT, "input: {size: 96}"),
    "task-onnx": (TRUE, "task: pose", "input: {size: 64}"),
    "classes-onnx": (TRUE, f"{_DETECT}, classes: [mouse]", "input: {size: 64}"),
    "order-onnx": (TRUE, f"{_DETECT}, classes: [car, person, bicycle]", "input: {size: 64}"),
    "no-words-onnx": (
        onnx_bytes((IMAGE,), (_decoded(84),)),
        f"{_DETECT}, classes: [mouse]",
        "input: {size: 64}",
    ),
    "other-head-onnx": (
        onnx_bytes((IMAGE,), (Edge(name="output0", shape=(1, 84, 8)),)),
        "task: detect, decoder: yolov8-decoded, classes: [a, b, c]",
        "input: {size: 64}",
    ),
    "suppresses-onnx": (
        onnx_bytes(
            (IMAGE,),
            (Edge(name="output0", shape=(1, 300, 6)),),
            metadata=_WORDS | {"args": "{'nms': True}"},
        ),
        _DETECT,
        "input: {size: 64}",
    ),
    "suppresses-on-a-chip-onnx": (
        onnx_bytes(
            (IMAGE,), (Edge(name="output0", shape=(1, 300, 6)),), ("Conv", "NonMaxSuppression")
        ),
        "",
        "input: {size: 64}\nquantization: {scheme: int8, calibration: {images: 'data/cam/*.jpg',"
        " count: 1}}\ntargets: [{target: xiao-esp32s3, firmware: unchecked}]",
    ),
    "no-operator-onnx": (onnx_bytes((IMAGE,), operators=()), "", "input: {size: 64}"),
    "no-opset-onnx": (onnx_bytes((IMAGE,), opset=0), "", "input: {size: 64}"),
    "new-opset-onnx": (onnx_bytes((IMAGE,), opset=99), "", "input: {size: 64}"),
    "old-opset-onnx": (onnx_bytes((IMAGE,), opset=5), "", "input: {size: 64}"),
    "opset-of-int8-onnx": (
        onnx_bytes((IMAGE,), opset=11),
        "",
        "input: {size: 64}\nquantization: {scheme: int8, calibration: {images: 'data/cam/*.jpg',"
        " count: 1}}\ntargets: [triton-onnx]",
    ),
    "new-format-onnx": (onnx_bytes((IMAGE,), ir=99), "", "input: {size: 64}"),
    "domain-onnx": (
        onnx_bytes((IMAGE,), operators=("Foo",), domain="my.dom"),
        "",
        "input: {size: 64}",
    ),
    "unknown-operator-onnx": (
        onnx_bytes((IMAGE,), operators=("Conv", "ReduceXean")),
        "",
        "input: {size: 64}",
    ),
    "later-operator-onnx": (onnx_bytes((IMAGE,), operators=("Gelu",)), "", "input: {size: 64}"),
    "flex-tflite": (tflite_bytes(operators=("CONV_2D", "FlexMatMul")), "", ""),
    "flex-linux-tflite": (
        tflite_bytes(operators=("FlexMatMul",)),
        "",
        "targets: [linux-arm64-tflite]",
    ),
    "custom-on-a-chip-tflite": (
        tflite_bytes(
            (INT8,),
            (Edge(name="o", shape=(1, 4), dtype="int8", scale=0.1),),
            ("CONV_2D", "MyOwn"),
        ),
        "",
        "targets: [{target: xiao-esp32s3, firmware: tflite-micro}]",
    ),
    "custom-before-vela-tflite": (
        tflite_bytes((INT8,), (Edge(name="o", shape=(1, 4), dtype="int8", scale=0.1),), ("MyOwn",)),
        "",
        "targets: [{target: grove-vision-ai-v2, firmware: unchecked}]",
    ),
    "open-batch-tflite": (
        tflite_bytes((Edge(name="images", shape=(-1, 64, 64, 3)),)),
        "",
        "input: {size: 64}",
    ),
    "open-size-tflite": (
        tflite_bytes((Edge(name="images", shape=(1, -1, -1, 3)),)),
        "",
        "input: {size: 64}",
    ),
    "no-scale-tflite": (
        tflite_bytes((Edge(name="images", shape=(1, 64, 64, 3), dtype="uint8"),)),
        "",
        "input: {size: 64}",
    ),
    "no-scale-output-tflite": (
        tflite_bytes((INT8,), (Edge(name="o", shape=(1, 11, 84), dtype="int8"),)),
        "task: detect, decoder: yolov8-decoded, classes: [a]",
        "input: {size: 64}",
    ),
    "pixel-keypoints-tflite": (
        tflite_bytes(
            (Edge(name="images", shape=(1, 64, 64, 3)),), (_decoded(17),), metadata=_POSE % "8.3.25"
        ),
        "task: pose, decoder: yolov8-normalized",
        "input: {size: 64}",
    ),
    "swapped-names-onnx": (
        onnx_bytes(
            (IMAGE,),
            (Edge(name="boxes", shape=(1, 84, 3)), Edge(name="scores", shape=(1, 4, 84))),
        ),
        "task: detect, decoder: yolov8-split, classes: [a, b, c]",
        "input: {size: 64}",
    ),
    "size-tflite": (tflite_bytes(), "", "input: {size: 64}"),
    "float-tflite": (
        tflite_bytes(),
        "",
        "targets: [{target: xiao-esp32s3, firmware: tflite-micro}]",
    ),
    "operators-tflite": (
        tflite_bytes((INT8,), (Edge(name="o", shape=(1, 4), dtype="int8", scale=0.1),), ("GELU",)),
        "",
        "targets: [{target: xiao-esp32s3, firmware: targets/firmware/mine.yaml}]",
    ),
}


def _place(root: Path, name: str, case: tuple[bytes, str, str]) -> str:
    """Write the file, and return the recipe's `source`."""
    data, words, lines = case
    suffix = name.rsplit("-", maxsplit=1)[-1]
    (root / "weights" / f"{name}.{suffix}").write_bytes(data)
    source = f"family: {suffix}, weights: {{path: weights/{name}.{suffix}}}"
    text = f"name: {name}\nsource: {{{source}{', ' if words else ''}{words}}}\n"
    text += "evaluate: none\n" + (f"{lines}\n" if lines else "")
    return text if "targets:" in lines else text + "targets: [host]\n"


def test_every_mistake_is_reported_at_check(
    workspace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """All cases in one run; the golden file has the messages."""
    (workspace / "targets" / "firmware").mkdir(parents=True)
    (workspace / "targets" / "firmware" / "mine.yaml").write_text(
        "name: mine\nlabel: Mine\nsource: my own\nverified: true\n"
        "input: {dtype: int8, scale: 0.00392156862745098, zero_point: -128, square: false}\n"
        "operators: [CONV_2D]\n"
    )
    for name, case in CASES.items():
        (workspace / "recipes" / f"{name}.yaml").write_text(_place(workspace, name, case))
    assert cli.main(["-C", str(workspace), "check"]) == 2
    told = capsys.readouterr().out
    compare(told, HERE / "given.yaml", ())
    silent = [name for name in CASES if f"recipes/{name}.yaml" not in told]
    assert not silent


def test_int8_needs_the_opset_that_its_step_takes() -> None:
    """`check` and the step that quantizes ONNX files have the same limit."""
    assert model.INT8_OPSET == quantize_onnx._LEAST_OPSET


@pytest.mark.parametrize("form", [Format.TFLITE, Format.ONNX])
def test_a_file_without_end_is_not_read(tmp_path: Path, form: Format) -> None:
    """A sparse file of 30 GB is not read."""
    path = tmp_path / "model"
    path.touch()
    os.truncate(path, 30 << 30)
    with pytest.raises(UnreadableModel, match="32212254720 bytes; the limit is 2 GiB"):
        read_given(path, form)


NO_MODELS: dict[str, bytes | None] = {
    # name of the file: what is in it; None: a folder
    "pointer": b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n",
    "half.tflite": tflite_bytes()[: len(tflite_bytes()) // 2],
    "half.onnx": TRUE[: len(TRUE) // 2],
    "lambda.keras": archive_of(b"", ("config.json", b'{"class_name": "Lambda"}')),
    "lambda.h5": b"\x89HDF\r\n\x1a\n" + bytes(512),
    "network.engine": b"ptrt" + bytes(512),
    "saved-model": None,
}


def _write_source(workspace: Path, build: str, family: str, name: str, target: str) -> None:
    """Write a recipe for a given file, with its digest."""
    path = workspace / "weights" / name
    digest = "0" * 64 if path.is_dir() else hashlib.sha256(path.read_bytes()).hexdigest()
    network = {"ultralytics": "yolov8n", "yolox": "yolox-nano"}.get(family, "")
    words = f"task: detect, architecture: {network}, " if network else ""
    source = f"{{family: {family}, {words}weights: {{path: weights/{name}, sha256: {digest}}}}}"
    text = f"source: {source}\nevaluate: none\ntargets: [{target}]\n"
    write_recipe(workspace, build, text)


def _silent(workspace: Path, capsys: pytest.CaptureFixture[str]) -> set[str]:
    """Names of recipes without an error of `check`."""
    assert cli.main(["-C", str(workspace), "check"]) == 2
    told = capsys.readouterr().out
    recipes = {path.name for path in (workspace / "recipes").glob("*.yaml")}
    return {name for name in recipes if f"recipes/{name}:2:" not in told}


def test_what_is_no_model_is_refused(workspace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Keras and TensorFlow formats, which can contain code, and engines are rejected."""
    for index, (name, content) in enumerate(NO_MODELS.items()):
        path = workspace / "weights" / name
        path.mkdir() if content is None else path.write_bytes(content)
        for family in ("ultralytics", "yolox", "onnx", "tflite"):
            _write_source(workspace, f"{family}-{index}", family, name, "host")
    assert _silent(workspace, capsys) == set()


def test_a_pointer_is_refused_for_every_target(
    workspace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A Git LFS pointer is rejected for every target, also for those that only copy the file."""
    (workspace / "weights" / "pointer").write_bytes(NO_MODELS["pointer"] or b"")
    for target in Boards(workspace).targets:
        for family in ("ultralytics", "onnx", "tflite"):
            _write_source(workspace, f"{family}-{target}", family, "pointer", target)
    unfit = {"tensorflow-saved-model", "triton-onnx"}  # these do not accept a TFLite file
    unfit |= {n for n in Boards(workspace).targets if n.startswith(("nvidia-", "jetson-"))}
    assert _silent(workspace, capsys) == {f"tflite-{name}.yaml" for name in unfit}


FINE: dict[str, tuple[bytes, str, str]] = {
    "says-it-onnx": (TRUE, _DETECT, "input: {size: 64}"),
    "own-words-onnx": (TRUE, f"{_DETECT}, classes: [Mensch, Rad, Auto]", "input: {size: 64}"),
    "open-onnx": (
        onnx_bytes(
            (Edge(name="images", shape=("n", 3, "h", "w")),),
            (Edge(name="output0", shape=("n", "rows", "cells")),),
            metadata=_WORDS,
        ),
        _DETECT,
        "input: {size: 96}",
    ),
    "four-grids-onnx": (
        onnx_bytes((IMAGE,), (Edge(name="output0", shape=(1, 7, 340)),), metadata=_WORDS),
        _DETECT,
        "input: {size: 64}",
    ),
    "masks-onnx": (
        onnx_bytes((IMAGE,), (_decoded(37), Edge(name="output1", shape=(1, 32, 16, 16)))),
        "task: segment, decoder: yolov8-decoded, classes: [a]",
        "input: {size: 64}",
    ),
    "shared-keypoints-tflite": (
        tflite_bytes(
            (Edge(name="images", shape=(1, 64, 64, 3)),), (_decoded(17),), metadata=_POSE % "8.3.26"
        ),
        "task: pose, decoder: yolov8-normalized",
        "input: {size: 64}",
    ),
    "sound-onnx": (
        onnx_bytes((Edge(name="sound", shape=(1, 1960)), Edge(name="gain", shape=(1,)))),
        "",
        "targets: [triton-onnx]",
    ),
}


def test_a_file_that_agrees_is_accepted(
    workspace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A matching file is accepted: its own or translated classes, a dynamic shape, other grids,
    masks with channels first.
    """
    for name, case in FINE.items():
        (workspace / "recipes" / f"{name}.yaml").write_text(_place(workspace, name, case))
    assert cli.main(["-C", str(workspace), "check"]) == 0, capsys.readouterr().out


@pytest.mark.parametrize(
    ("shape", "onnx", "tflite"),
    [
        ((1, 3, 64, 96), (64, 96), None),
        ((1, 64, 96, 3), None, (64, 96)),
        ((1, 3, 64, "width"), None, None),
        ((1, 1, 64, 64), None, None),
        ((), None, None),
    ],
)
def test_the_size_of_the_images_of_a_file(
    shape: tuple[int | str, ...],
    onnx: tuple[int, int] | None,
    tflite: tuple[int, int] | None,
    tmp_path: Path,
) -> None:
    """The input size is read channels-first in ONNX and channels-last in TFLite; None for a dynamic
    axis or another number of channels.
    """
    edge = Edge(name="images", shape=shape)
    (tmp_path / "x.onnx").write_bytes(onnx_bytes((edge,)))
    assert read_given(tmp_path / "x.onnx", Format.ONNX).size == onnx
    sides = tuple(-1 if isinstance(side, str) else side for side in shape)
    (tmp_path / "x.tflite").write_bytes(tflite_bytes((Edge(name="images", shape=sides),)))
    assert read_given(tmp_path / "x.tflite", Format.TFLITE).size == tflite


@pytest.mark.parametrize(("form", "target"), [("tflite", "raspberry-pi-5"), ("onnx", "host")])
def test_outputs_with_names_of_their_own_are_in_the_files_order(
    workspace: Path, form: str, target: str
) -> None:
    """Steps that know outputs by position get the head's names in the order of the file."""
    shapes = {
        f"{kind}_s{stride}": (1, (64 // stride) ** 2, width)
        for kind, width in (("cls", 3), ("box", 64))
        for stride in (32, 8, 16)
    }
    outputs = [
        Edge(name=f"out:{place}", shape=shape) for place, shape in enumerate(shapes.values())
    ]
    image = IMAGE if form == "onnx" else Edge(name="images", shape=(1, 64, 64, 3))
    made = onnx_bytes if form == "onnx" else tflite_bytes
    (workspace / "weights" / f"raw.{form}").write_bytes(made((image,), outputs))
    source = f"family: {form}, task: detect, decoder: yolov8-raw, classes: [a, b, c]"
    write_recipe(
        workspace,
        "raw",
        f"source: {{{source}, weights: {{path: weights/raw.{form}}}}}\n"
        f"input: {{size: 64}}\nevaluate: none\ntargets: [{target}]\n",
    )
    params = [json.loads(step.params) for step in plan_good(workspace)[f"raw@{target}"].steps]
    found = [
        each[key]
        for each in params
        for key in ("outputs", "output_names", "names")
        if each.get(key)
    ]
    assert found
    assert all(names == list(shapes) for names in found), found


def test_outputs_in_a_contracts_order_have_its_names_in_the_package(workspace: Path) -> None:
    """A file with names of its own that was put into a firmware's order is described in that order."""
    folder = workspace / "targets" / "firmware"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "mine.yaml").write_text(
        "name: mine\nlabel: Mine\nsource: my own\nverified: true\ntask: detect\nhead: split\n"
        "input: {dtype: float32, square: false}\noperators: [CONV_2D]\n"
        "outputs:\n  match: order\n  values: probabilities\n  dtype: float32\n  tensors:\n"
        "    - {name: scores, shape: [1, N, nc]}\n    - {name: boxes, shape: [1, 4, N]}\n"
    )
    image = Edge(name="images", shape=(1, 64, 64, 3))
    outputs = (Edge(name="a", shape=(1, 4, 84)), Edge(name="b", shape=(1, 84, 2)))
    (workspace / "weights" / "split.tflite").write_bytes(tflite_bytes((image,), outputs))
    source = "family: tflite, task: detect, decoder: yolov8-split, classes: [a, b]"
    write_recipe(
        workspace,
        "split",
        f"source: {{{source}, weights: {{path: weights/split.tflite}}}}\n"
        "input: {size: 64}\nevaluate: none\n"
        "targets: [{target: raspberry-pi-5, firmware: targets/firmware/mine.yaml}]\n",
    )
    (plan,) = plan_good(workspace).values()
    package = next(step for step in plan.steps if step.id == plan.package)
    assert json.loads(package.params)["outputs"] == ["scores", "boxes"]


@pytest.mark.parametrize(
    ("version", "decoder"),
    [("8.3.25", ""), ("8.3.26", "yolov8-normalized"), ("8.4.0b1", "yolov8-normalized")],
)
def test_no_decoder_is_offered_for_keypoints_in_pixels(
    tmp_path: Path, version: str, decoder: str
) -> None:
    """A pose file whose boxes and keypoints have different units has no decoder."""
    image = Edge(name="images", shape=(1, 64, 64, 3))
    content = tflite_bytes((image,), (_decoded(17),), metadata=_POSE % version)
    (tmp_path / "x.tflite").write_bytes(content)
    assert guess_decoder(read_given(tmp_path / "x.tflite", Format.TFLITE)) == decoder


def _classifier(*operators: str, outputs: tuple[int, ...] = (1, 3)) -> bytes:
    edge = Edge(name="y", shape=outputs)
    return onnx_bytes((IMAGE,), (edge,), operators, chain=True)


@pytest.mark.parametrize(
    ("operators", "decoder", "told"),
    [
        (("Conv", "Gemm"), "yolov8-decoded", "ends in Gemm, not in Softmax"),
        (("Gemm", "Flatten"), "yolov8-decoded", "ends in Gemm, not in Softmax"),
        (("Gemm", "Softmax", "Reshape"), "yolov8-decoded", ""),
        (("Gemm", "Softmax"), "yolov8-raw", "ends in Softmax"),
        (("Conv", "Gemm"), "yolov8-raw", ""),
        (("Gemm", "Softmax", "QuantizeLinear", "DequantizeLinear"), "yolov8-decoded", ""),
        (
            ("Gemm", "Softmax", "QuantizeLinear", "DequantizeLinear"),
            "yolov8-raw",
            "ends in Softmax",
        ),
        (
            ("QLinearConv", "DequantizeLinear"),
            "yolov8-decoded",
            "ends in QLinearConv, not in Softmax",
        ),
        (("Gemm", "Exp", "Div"), "yolov8-decoded", ""),
        (("Gemm", "Exp", "Div"), "yolov8-raw", ""),
        (("Gemm", "Sigmoid"), "yolov8-decoded", "ends in Sigmoid, not in Softmax"),
        (("Gemm", "Sigmoid"), "yolov8-raw", "ends in Sigmoid, not in Softmax"),
    ],
)
def test_a_classifier_whose_last_operator_contradicts_its_decoder_is_reported(
    operators: tuple[str, ...],
    decoder: str,
    told: str,
    workspace: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Whether a classifier gives logits or probabilities is compared with the decoder."""
    words = f"task: classify, decoder: {decoder}, classes: [a, b, c]"
    recipe = _place(workspace, "kind-onnx", (_classifier(*operators), words, "input: {size: 64}"))
    (workspace / "recipes" / "kind-onnx.yaml").write_text(recipe)
    assert cli.main(["-C", str(workspace), "check"]) == 0
    text = capsys.readouterr().out
    assert (f"warning: weights/kind-onnx.onnx {told}" in text) if told else "warning" not in text


def test_suppression_is_reported_before_a_decoder_is_written(
    workspace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A file with NMS is a warning; `decoder: none` accepts it."""
    content = onnx_bytes(
        (IMAGE,),
        (Edge(name="output0", shape=(1, 300, 6)),),
        metadata=_WORDS | {"args": "{'nms': True}"},
    )
    for words, warnings in (("task: detect", 1), ("task: detect, decoder: none", 0)):
        recipe = _place(workspace, "nms-onnx", (content, words, "input: {size: 64}"))
        (workspace / "recipes" / "nms-onnx.yaml").write_text(recipe)
        assert cli.main(["-C", str(workspace), "check"]) == 0
        assert capsys.readouterr().out.count("no decoder reads its outputs") == warnings
    (workspace / "weights" / "nms.onnx").write_bytes(content)
    command = ["new", "own", "--from", "weights/nms.onnx", "--target", "host"]
    assert cli.main(["-C", str(workspace), *command]) == 0
    assert "no decoder reads its outputs" in capsys.readouterr().out
    text = (workspace / "recipes" / "own.yaml").read_text()
    assert "export it with nms=False" in " ".join(text.replace("#", "").split())
    assert "classes: [" not in text


INTEGERS = """\
input: {size: 64}
quantization: {scheme: int8, calibration: {images: calibration/*.bmp, count: 2}}
targets: [linux-arm64-tflite]
"""


@pytest.mark.parametrize(
    ("rest", "told"),
    [
        (INTEGERS, True),
        (INTEGERS.replace("scheme: int8", "scheme: int16x8"), False),
        (
            "input: {size: 64}\nquantization: {scheme: float16}\ntargets: [linux-arm64-tflite]",
            False,
        ),
    ],
)
def test_pixels_and_scores_in_one_int8_output_are_reported_before_the_conversion(
    rest: str, told: bool, workspace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """An ONNX file with Ultralytics' decoded head, for an int8 TFLite file: a warning with the cure."""
    draw(workspace / "calibration", 64, 2)
    words = "task: detect, decoder: yolov8-decoded, classes: [a, b, c]"
    content = onnx_bytes((IMAGE,), (_decoded(7),))
    recipe = _place(workspace, "joint-onnx", (content, words, rest))
    (workspace / "recipes" / "joint-onnx.yaml").write_text(recipe)
    assert cli.main(["-C", str(workspace), "check"]) == 0
    text = capsys.readouterr().out
    assert ("one scale for both leaves the scores too few steps" in text) == told
    assert ("give the checkpoint, whose outputs are exported apart" in text) == told


def test_a_decoded_head_of_ones_own_for_int8_is_reported_at_its_line(
    workspace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """`export: {head: decoded}` for an int8 TFLite file: a warning before the training."""
    draw(workspace / "calibration", 64, 2)
    source = "{family: ultralytics, task: detect, architecture: yolov8n, weights: random}"
    text = f"source: {source}\nevaluate: none\nexport: {{head: decoded}}\n{INTEGERS}"
    write_recipe(workspace, "own", text)
    assert cli.main(["-C", str(workspace), "check"]) == 0
    told = capsys.readouterr().out
    assert "own.yaml:4:16: warning: one int8 output would hold boxes in pixels and scores" in told
    assert "help: remove `head`" in told


@pytest.mark.parametrize(
    ("requested", "word"),
    [("{split: val}", ""), ("{gates: {box.mAP50-95: {min: 0.1}}}", ""), ("{split: val}", "none")],
)
def test_accuracy_of_a_file_with_suppression_needs_another_export(
    requested: str, word: str, workspace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """No decoder is advised where none reads the outputs."""
    content = onnx_bytes(
        (IMAGE,), (Edge(name="output0", shape=(1, 300, 6)),), ("NonMaxSuppression",)
    )
    (workspace / "weights" / "nms.onnx").write_bytes(content)
    decoder = f"decoder: {word}, " if word else ""
    write_recipe(
        workspace,
        "nms",
        f"source: {{family: onnx, {decoder}task: detect, weights: {{path: weights/nms.onnx}}}}\n"
        "dataset: {format: ultralytics, path: data/boxes/data.yaml}\n"
        f"input: {{size: 64}}\nevaluate: {requested}\ntargets: [host]\n",
    )
    assert cli.main(["-C", str(workspace), "check"]) == 2
    text = capsys.readouterr().out
    assert "the meaning of the outputs is not given" in text
    assert "export the file again with nms=False" in text
    assert "source.decoder" not in text


@pytest.mark.parametrize(
    ("operators", "told"),
    [
        (
            ("Gemm", "Softmax"),
            "yolov8-decoded: the file ends in Softmax, which gives probabilities",
        ),
        (("Conv", "Gemm"), "yolov8-raw: the file ends in Gemm, which gives logits"),
        (
            ("Gemm", "Sigmoid"),
            "none: the file ends in Sigmoid, which gives each class a probability of its own",
        ),
    ],
)
def test_new_names_the_decoder_of_a_classifier(
    operators: tuple[str, ...], told: str, workspace: Path
) -> None:
    """Only decoders of classifiers are listed, and the last operator names one."""
    (workspace / "weights" / "kind.onnx").write_bytes(_classifier(*operators))
    for split, name in itertools.product(("train", "val"), ("a", "b", "c")):
        (workspace / "data" / "kinds" / split / name).mkdir(parents=True)
        (workspace / "data" / "kinds" / split / name / "0.jpg").write_bytes(b"")
    command = ["new", "own", "--from", "weights/kind.onnx", "--data", "data/kinds"]
    assert cli.main(["-C", str(workspace), *command, "--target", "host"]) == 0
    text = " ".join((workspace / "recipes" / "own.yaml").read_text().replace("#", "").split())
    assert f"decoder: {told}; there are: " in text
    assert "yolox" not in text.partition("there are: ")[2].partition("classes")[0]


@pytest.mark.parametrize(
    ("operators", "shape", "decoder"),
    [
        (("Gemm", "Softmax"), (1, 3), "yolov8-decoded"),
        (("Gemm", "Softmax", "QuantizeLinear", "DequantizeLinear"), (1, 3), "yolov8-decoded"),
        (("Conv", "Gemm"), (1, 3), "yolov8-raw"),
        (("Gemm", "Exp", "Div"), (1, 3), ""),
        (("Gemm", "Sigmoid"), (1, 3), ""),
        (("Gemm", "Softmax"), (1, 5), ""),
        (("Conv",), (1, 3, 7, 7), ""),
    ],
)
def test_a_classifiers_decoder_is_offered_where_it_fits(
    operators: tuple[str, ...], shape: tuple[int, ...], decoder: str, tmp_path: Path
) -> None:
    """A decoder is offered if it reads what the last operator gives, and outputs of that shape."""
    edge, words = Edge(name="y", shape=shape), _WORDS | {"task": "classify"}
    content = onnx_bytes((IMAGE,), (edge,), operators, words, chain=True)
    (tmp_path / "x.onnx").write_bytes(content)
    assert guess_decoder(read_given(tmp_path / "x.onnx", Format.ONNX)) == decoder
