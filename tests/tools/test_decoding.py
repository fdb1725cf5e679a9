"""Images that cannot be decoded, as the tools' OpenCV reports them, and how PNGs are written."""

from pathlib import Path

import pytest

from tests.tools.single_steps import evaluate

pytestmark = pytest.mark.tools

_START = """
import json, resource, struct, sys, zlib
from pathlib import Path
import cv2
import numpy as np
sys.path.insert(0, sys.argv[1])
from buildsys.steps.lib.images import decoding
from buildsys.steps.lib.images.png_file import encode_png
from buildsys.steps.lib.runtime.progress import StepError

def png(width, height):
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(bytes(1000))), (b"IEND", b""))
    found = b"\\x89PNG\\r\\n\\x1a\\n"
    for name, body in chunks:
        found += struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
    return found

def problem(data, suffix=".png"):
    return decoding.decode(data, suffix).problem
"""
_LIMITS = """
tiff = cv2.imencode(".tiff", np.ones((20, 20), np.float32))[1].tobytes()
print(json.dumps([problem(png(40000, 40000)), problem(png(2000000, 10)), problem(tiff, ".tif")]))
"""
_MEMORY = """
path = Path("big.bmp")
path.write_bytes(cv2.imencode(".bmp", np.zeros((3000, 4000, 3), np.uint8))[1].tobytes())
used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + 50 * 2**20, resource.RLIM_INFINITY))
try:
    decoding.read_image(path)
except StepError as error:
    print(json.dumps(str(error)))
"""
_PNG = """
rng = np.random.default_rng(0)
image = cv2.resize(rng.integers(0, 256, (60, 80, 3), np.uint8), (640, 480))
data, usual = encode_png(image), cv2.imencode(".png", image)[1]
same = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
print(json.dumps([bool((same == image).all()), len(data) / usual.size]))
"""


def test_an_image_above_the_limits_says_so(tmp_path: Path) -> None:
    """A sound image that OpenCV or libpng refuses is not called damaged."""
    large = "is too large: images of at most 1,000 million pixels, and a million a side, are read"
    assert evaluate(tmp_path, _START + _LIMITS) == [
        f"{large}; make it smaller",
        f"{large}; make it smaller",
        "has pixels of type float32; save it with 8 bits a channel",
    ]


def test_an_image_that_memory_does_not_hold_is_named(tmp_path: Path) -> None:
    """The step ends with the image's name, and does not call it damaged."""
    words = "big.bmp does not fit into the memory that is left"
    assert (
        evaluate(tmp_path, _START + _MEMORY)
        == f"{words}; end other programs, or build with `-n 1`."
    )


def test_a_png_has_the_same_pixels_in_fewer_bytes(tmp_path: Path) -> None:
    """Trying every filter makes an image of a camera a tenth smaller or more."""
    found = evaluate(tmp_path, _START + _PNG)
    assert isinstance(found, list)
    assert found[0] is True
    assert found[1] < 0.9
