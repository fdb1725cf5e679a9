"""Damaged images, labels, lists and model files: the step names the file in one sentence."""

import random
import struct
import sys
from pathlib import Path

import pytest

from buildsys.spec import Preprocessing, Quantization
from buildsys.steps import quantize_litert_torch
from buildsys.steps.lib.datasets.labels import read_labels
from buildsys.steps.lib.datasets.ultralytics_layout import Split, list_images
from buildsys.steps.lib.families import yolov4_network
from buildsys.steps.lib.files.tflite_bounds import demand_tflite
from buildsys.steps.lib.images.image_headers import is_cut_off
from buildsys.steps.lib.runtime.progress import StepError

_SPLIT = Split(name="train", paths=("train.txt",))


@pytest.mark.parametrize(
    "line", ["/etc/passwd", "../../elsewhere.jpg", "images/../../../x.jpg", "./../x.jpg"]
)
def test_list_that_leads_out(tmp_path: Path, line: str) -> None:
    """A path in a list that leads out of the dataset is an error."""
    root = tmp_path / "data"
    root.mkdir()
    (root / "images").mkdir()
    (root / "images" / "a.jpg").touch()
    (root / "train.txt").write_text(f"images/a.jpg\n\n{line}\n")
    with pytest.raises(StepError, match=r"train\.txt:3: .* lies outside the dataset"):
        list_images(root, _SPLIT)


def test_list_with_windows_endings_and_a_mark(tmp_path: Path) -> None:
    """A list with a byte order mark and CRLF is read."""
    (tmp_path / "train.txt").write_bytes(b"\xef\xbb\xbfimages/a.jpg\r\n./images/b.jpg\r\n")
    (tmp_path / "images").mkdir()
    for name in ("a.jpg", "b.jpg"):
        (tmp_path / "images" / name).touch()
    found = [path.relative_to(tmp_path).as_posix() for path in list_images(tmp_path, _SPLIT)]
    assert found == ["images/a.jpg", "images/b.jpg"]


def test_list_that_is_an_image(tmp_path: Path) -> None:
    """A list that is an image is reported in one sentence."""
    (tmp_path / "train.txt").write_bytes(b"images/\xff\xd8.jpg")
    with pytest.raises(StepError, match=r"train\.txt: is not a text in UTF-8 \(byte 7\)"):
        list_images(tmp_path, _SPLIT)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"\xff\xd8\xff\xe0", r"a\.txt is not a text in UTF-8"),
        (b"0 0.5 0.5 0.1", r"a\.txt:1: 4 numbers; class and box are 5"),
        (b"0 0.5 0.5 0.1 0.1\n0 0.5 0.", r"a\.txt:2: 3 numbers"),
        (b"0 0.5 nan 0.1 0.1", r"a\.txt:1: 'nan' is not a number"),
        (b"0 0.5 1e999 0.1 0.1", r"a\.txt:1: '1e999' is not a number"),
        (b"nan 0.5 0.5 0.1 0.1", r"a\.txt:1: "),
        (b"1e999 0.5 0.5 0.1 0.1", r"a\.txt:1: "),
        (b"7 0.5 0.5 0.1 0.1", r"a\.txt:1: class 7; `names` has 0 to 1"),
        (b"tag 0.5 0.5 0.1 0.1", r"a\.txt:1: 'tag' is not a number"),
    ],
)
def test_broken_labels(tmp_path: Path, content: bytes, told: str) -> None:
    """A broken label ends the step, with the message of `buildsys check --data`."""
    (tmp_path / "a.txt").write_bytes(content)
    with pytest.raises(StepError, match=told):
        read_labels(tmp_path, tmp_path / "a.jpg", 0, 0, 2)


_JPEG = (
    b"\xff\xd8\xff\xe1\x00\x11thumbnail\xff\xda..\xff\xd9"
    b"\xff\xda\x00\x03\x01entropy\xff\x00coded\xff\xd9"
)
_PNG = b"\x89PNG\r\n\x1a\n....IDAT....IEND\xaeB`\x82"
_WEBP = b"RIFF" + (16).to_bytes(4, "little") + b"WEBPVP8 12345678"


@pytest.mark.parametrize("whole", [_JPEG, _JPEG + b"a camera's own data", _PNG, _WEBP])
def test_whole_images_pass(whole: bytes) -> None:
    """Complete images pass, also with extra data after the end."""
    assert not is_cut_off(whole)


@pytest.mark.parametrize("whole", [_JPEG, _PNG, _WEBP])
def test_images_that_are_cut_off(whole: bytes) -> None:
    """Truncated images are an error."""
    assert is_cut_off(whole[:-8])


def test_any_bytes_are_a_model_or_a_sentence(tmp_path: Path) -> None:
    """Arbitrary bytes are read as a model or give one sentence with the file's name."""
    path, rng = tmp_path / "model.tflite", random.Random(0)
    for size in (0, 3, 7, 8, 9, 40, 400, 4000):
        for head in (b"", struct.pack("<I", 28) + b"TFL3", struct.pack("<i", -5) + b"TFL3"):
            path.write_bytes((head + rng.randbytes(size))[: size + 8])
            with pytest.raises(
                StepError,
                match=r"model\.tflite: (this is not a TFLite|the file is (damaged|empty))",
            ):
                demand_tflite(path)


@pytest.mark.parametrize("scheme", ["float32", "int8"])
def test_quantization_of_a_damaged_file(tmp_path: Path, scheme: str) -> None:
    """A damaged float file is reported before a library opens it."""
    file = tmp_path / "network.tflite"
    file.write_bytes(b"\x1c\0\0\0TFL3" + bytes(range(256)))
    params = quantize_litert_torch.Params(
        quantization=Quantization(scheme=scheme, granularity="per-tensor", io=scheme),
        preprocessing=Preprocessing(height=64, width=64, color="rgb", resize="letterbox"),
    )
    inputs, outputs = {"float-tflite": file}, {"tflite": tmp_path / "quantized.tflite"}
    with pytest.raises(StepError, match=r"network\.tflite: the file is damaged or cut off"):
        quantize_litert_torch.run(inputs, outputs, params)


_TORCH = """
def load(path, **options):
    raise MemoryError
def set_num_threads(count):
    pass
"""
_DARKNET = """
class Darknet:
    models = ()
    def __init__(self, place):
        pass
    def eval(self):
        return self
    def load_state_dict(self, state):
        pass
"""


def test_a_lack_of_memory_is_not_a_damaged_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A lack of memory while a checkpoint is loaded stays what it is."""
    (tmp_path / "yolov4" / "tool").mkdir(parents=True)
    (tmp_path / "torch.py").write_text(_TORCH)
    (tmp_path / "yolov4" / "__init__.py").touch()
    (tmp_path / "yolov4" / "tool" / "__init__.py").touch()
    (tmp_path / "yolov4" / "tool" / "darknet2pytorch.py").write_text(_DARKNET)
    monkeypatch.syspath_prepend(tmp_path)
    for name in ("torch", "yolov4", "yolov4.tool", "yolov4.tool.darknet2pytorch"):
        monkeypatch.setitem(sys.modules, name, None)  # restored afterwards
        del sys.modules[name]
    with pytest.raises(MemoryError):
        yolov4_network.load(tmp_path / "start.pt", "yolov4-tiny")
