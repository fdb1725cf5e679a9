"""Capture what native code writes to file descriptor 2, its only way to report errors."""

import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import BinaryIO, cast


@contextmanager
def captured_stderr() -> Iterator[BinaryIO]:
    """Yield a file with the text written during the block, valid until the next block; see
    `read_text`.
    """
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
    """Return everything that was captured."""
    log.seek(0)
    return log.read().decode("utf-8", "replace")


@cache
def _log_file() -> BinaryIO:
    """Return one file for all blocks, because creating one takes longer than decoding a small
    image.
    """
    return cast("BinaryIO", tempfile.TemporaryFile(buffering=0))
