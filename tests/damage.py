"""Damage files, and compare folders: for fuzzers and their short forms."""

import os
import random
import stat
from pathlib import Path


def snapshot(folder: Path) -> dict[str, tuple[int, bytes]]:
    """Everything below a folder by name: mode, and content or link target."""
    found = {}
    for place, folders, names in os.walk(folder):
        for name in (*folders, *names):
            path = os.path.join(place, name)
            mode = os.lstat(path).st_mode
            content = b""
            if stat.S_ISREG(mode):
                content = Path(path).read_bytes()
            elif stat.S_ISLNK(mode):
                content = os.fsencode(os.readlink(path))
            found[os.path.relpath(path, folder)] = (mode, content)
    return found


def flip(path: Path, chance: random.Random) -> str:
    """Flip one bit of a file; returns a description."""
    data = bytearray(path.read_bytes())
    bit = chance.randrange(len(data) * 8)
    data[bit // 8] ^= 1 << bit % 8
    _overwrite(path, bytes(data))
    return f"bit {bit} of {path}"


def cut(path: Path, chance: random.Random) -> str:
    """Truncate a file; returns a description."""
    data = path.read_bytes()
    length = chance.randrange(len(data))
    _overwrite(path, data[:length])
    return f"{length} of {len(data)} bytes of {path}"


def _overwrite(path: Path, data: bytes) -> None:
    """Overwrite a file in place, even if it is read-only; mode and times are kept."""
    found = path.stat()
    path.chmod(0o600)
    path.write_bytes(data)
    path.chmod(stat.S_IMODE(found.st_mode))
    os.utime(path, ns=(found.st_atime_ns, found.st_mtime_ns))
