"""How much two results of one step may differ, by kind of file, at the limit and beyond."""

import io
import json
import math
import struct
import zipfile

import pytest

from buildsys.operations.agreement import METRIC_TOLERANCE, compare_files
from buildsys.steps.lib.parity.tolerances import CLOSE, CLOSE_SHARE, KERNEL_STEPS


def array(values: tuple[float, ...], shape: tuple[int, ...], kind: str = "<f4") -> bytes:
    """The bytes of a .npy file as NumPy writes it."""
    letter = {"<f4": "f", "|i1": "b"}[kind]
    header = f"{{'descr': '{kind}', 'fortran_order': False, 'shape': {shape!r}, }}".ljust(117)
    text = f"{header}\n".encode("latin-1")
    data = struct.pack(f"<{len(values)}{letter}", *values)
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text + data


def recording(**arrays: bytes) -> bytes:
    """The bytes of a .npz file."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name, data in arrays.items():
            archive.writestr(f"{name}.npy", data)
    return stream.getvalue()


def floats(*values: float, shape: tuple[int, ...] = ()) -> bytes:
    """The bytes of a recording of one output."""
    return recording(boxes=array(values, shape or (len(values),)))


def metrics(**figures: float | None) -> bytes:
    """The bytes of a file of metrics."""
    return json.dumps({"metrics": figures}).encode()


def measured(images: int = 0, kernels: str = "", **figures: float) -> bytes:
    """The bytes of a file of metrics with how they were measured."""
    return json.dumps({"images": images, "kernels": kernels, "metrics": figures}).encode()


def verdict(**figures: object) -> bytes:
    """The bytes of a verdict that passed."""
    return json.dumps({"passed": True, "failures": [], **figures}).encode()


@pytest.mark.parametrize(
    ("kind", "published", "again", "within"),
    [
        ("metrics", metrics(a=0.5), metrics(a=0.5 + METRIC_TOLERANCE * 0.99), True),
        ("metrics", metrics(a=0.5), metrics(a=0.5 + METRIC_TOLERANCE * 1.01), False),
        ("metrics", metrics(a=0.5), metrics(a=0.5, b=0.5), False),
        ("metrics", metrics(top1=0.5, **{"top1.a": None}), metrics(top1=0.5), False),
        ("metrics", metrics(a=0.5, b=None), metrics(a=0.501, b=None), True),
        ("metrics", metrics(a=0.5), b"no JSON", False),
        ("metrics", b"[]", b"[]", False),
        ("metrics", metrics(a=0.5), measured(images=3, a=0.5), False),
        ("metrics", measured(images=3, a=0.5), measured(images=3, a=0.501), True),
        ("metrics", measured(images=3, a=0.5), measured(images=4, a=0.5), False),
        ("metrics", measured(kernels="a", a=0.5), measured(kernels="b", a=0.5), False),
        ("curves", b'{"precision": [1.0]}', b'{"precision": [0.9, 1]}', True),
        ("curves", b'{"precision": [1.0]}', b'{"precision": {}}', False),
        ("curves", b'{"precision": [1.0]}', b'{"other": 1}', False),
        ("curves", b'{"precision": [1.0]}', b"no JSON", False),
        ("verdict", verdict(decibels=50.0), verdict(decibels=50.09), True),
        ("verdict", verdict(decibels=50.0), verdict(decibels=50.2), False),
        ("verdict", verdict(found=7), verdict(found=8), False),
        ("verdict", verdict(), verdict(passed=False), False),
        ("verdict", verdict(rungs=[1.0]), verdict(rungs=[1.0, 1.0]), False),
        ("recording", floats(0.5, 0.5), floats(0.5, 0.5 + CLOSE * 0.9), True),
        ("recording", floats(0.5, 0.5), floats(0.5, 0.5 + CLOSE * 1.1), False),
        ("recording", floats(1e4, 0.0), floats(1e4, 1e4 * CLOSE_SHARE * 0.9), True),
        ("recording", floats(1.0, 2.0), floats(1.0, math.nan), False),
        ("recording", floats(math.inf, 2.0), floats(math.inf, 2.0 + CLOSE * 0.9), True),
        ("recording", floats(math.inf, 2.0), floats(math.inf, 9.0), False),
        ("recording", floats(math.inf, 2.0), floats(-math.inf, 2.0), False),
        ("recording", floats(1.0, 2.0), floats(1.0, math.inf), False),
        ("recording", floats(math.nan, 2.0), floats(math.nan, 9.0), False),
        ("recording", floats(math.nan, 2.0), floats(math.nan, 2.0), True),
        ("recording", floats(1.0, 2.0), floats(1.0, 2.0, shape=(1, 2)), False),
        ("recording", floats(1.0), b"no archive", False),
        ("tflite", b"one", b"two", False),
    ],
)
def test_each_kind_of_file_has_its_limit(
    kind: str, published: bytes, again: bytes, within: bool
) -> None:
    """Models must be equal byte by byte; measurements may differ up to a limit."""
    assert compare_files(kind, published, again).within == within


def test_a_recording_is_judged_row_by_row() -> None:
    """Of [n, a, b], each index of the shorter axis is compared by itself, so that large values do
    not hide small ones.
    """
    wide = (1e4, 1e4, 1e4, 0.1, 0.1, 0.1)  # [1, 2, 3]: a row of pixels, a row of scores
    off = (*wide[:-1], 0.1 + 2 * CLOSE)
    assert not compare_files(
        "recording", floats(*wide, shape=(1, 2, 3)), floats(*off, shape=(1, 2, 3))
    ).within
    tall = (1e4, 0.1, 1e4, 0.1, 1e4, 0.1)  # [1, 3, 2]
    off = (*tall[:-1], 0.1 + 2 * CLOSE)
    assert not compare_files(
        "recording", floats(*tall, shape=(1, 3, 2)), floats(*off, shape=(1, 3, 2))
    ).within


@pytest.mark.parametrize(("steps", "within"), [(KERNEL_STEPS, True), (KERNEL_STEPS + 1, False)])
def test_integers_may_be_a_few_steps_apart(steps: int, within: bool) -> None:
    """Integers may differ by a few steps, as between the kernels of LiteRT and TFLite Micro."""
    old, new = (recording(boxes=array((0, value), (2,), "|i1")) for value in (5, 5 + steps))
    assert compare_files("recording", old, new).within == within
