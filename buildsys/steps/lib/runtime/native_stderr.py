"""What native code writes to file descriptor 2, captured: it has no other way to say what is wrong."""

import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import BinaryIO, cast


@contextmanager
def captured_stderr() -> Iterator[BinaryIO]:
    """A file of what is written during the block, until the next block; see `read_text`."""
    log = _log_file()
    log.seek(0)
    log.truncate()
    sys.stderr.flush()
    before = os.dup(2)
    os.dup2(log.fileno(), 2)
    try:
        yield log
    finally:
        os.dup2(before, 2)
        os.close(before)


def read_text(log: BinaryIO) -> str:
    """All that was captured."""
    log.seek(0)
    return log.read().decode("utf-8", "replace")


@cache
def _log_file() -> BinaryIO:
    """One file for all blocks: creating one takes longer than decoding a small image."""
    return cast("BinaryIO", tempfile.TemporaryFile(buffering=0))
