"""Reading photographs that may be damaged: what is wrong is a finding, not the end of the step."""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from buildsys.steps.lib.runtime.native_stderr import captured_stderr, read_text

if TYPE_CHECKING:
    import numpy as np

_ENDS = {b"\xff\xd8\xff": b"\xff\xd9", b"\x89PNG\r\n\x1a\n": b"IEND"}
"""How a file of this kind begins, and what its last bytes hold."""
_OTHER_KINDS = (b"BM", b"RIFF", b"II*\x00", b"MM\x00*")
_TAIL = 4096


@dataclass(frozen=True, kw_only=True)
class Photo:
    """What was read: `image` uint8 [h, w, 3] BGR, or None and the `problem` in words.

    `damaged`: the decoder's complaint about a picture that it could decode all the same.
    """

    digest: str
    image: "np.ndarray | None"
    problem: str = ""
    damaged: str = ""


def read(path: Path) -> Photo:
    """A photograph as the rest of the build reads it; never raises for what the file holds."""
    import cv2
    import numpy as np

    try:
        data = path.read_bytes()
    except OSError as error:
        return Photo(digest="", image=None, problem=f"cannot be read: {error.strerror}")
    digest = hashlib.sha256(data).hexdigest()
    if not data:
        return Photo(digest=digest, image=None, problem="is an empty file")
    with captured_stderr() as log:
        try:
            image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
        except cv2.error:  # a size beyond its limits
            image = None
        text = _last_line(read_text(log))
    if image is None:
        return Photo(digest=digest, image=None, problem=explain(data))
    return Photo(digest=digest, image=np.asarray(image), damaged=text)


def explain(data: bytes) -> str:
    """Why bytes that no decoder accepts are no picture."""
    for start, end in _ENDS.items():
        if data.startswith(start):
            cut = end not in data[-_TAIL:]
            return "is truncated: its end is missing" if cut else "is damaged: it does not decode"
    if data.startswith(_OTHER_KINDS):
        return "is truncated or damaged: it does not decode"
    return "is no picture, whatever its name says"


def _last_line(text: str) -> str:
    lines = text.strip().splitlines()
    return lines[-1].strip() if lines else ""
