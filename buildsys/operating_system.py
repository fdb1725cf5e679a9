"""Differences between operating systems, in one place.

Everything was tested on Linux on x86-64. Linux on ARM has the same calls; those of macOS follow its
manual pages and were never run.
"""

import contextlib
import errno
import os
import platform
import sys
import time
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import IO

TRIED = "linux-x86_64"
"""The host on which everything was tested, named as by `platform_name`."""
_SYSTEMS = {"linux": "linux", "darwin": "macos", "win32": "windows"}
_TITLES = {"linux": "Linux", "macos": "macOS", "windows": "Windows"}
_CANNOT_SYNC = (errno.EINVAL, errno.ENOTSUP, errno.EBADF, errno.ENOSYS, errno.EROFS)
"""Errors of fsync on file systems that do not support it, mostly for folders."""
_COARSE_CLOCK = 5
"""Linux' CLOCK_REALTIME_COARSE, which dates files: the fine clock is some milliseconds ahead of it.
"""
_MOST_LOOKS = 200
_TICK_SECONDS = 0.01
"""The longest time between two ticks of the clock that dates files: Linux with HZ=100."""
_FICLONE = 0x40049409
"""Constant of linux/fs.h."""
_CGROUP = Path("/sys/fs/cgroup")
_LONGEST_NAME = 256
"""Bytes of a CPU's name."""


def platform_name() -> str:
    """Return system and processor, such as "linux-x86_64", "linux-aarch64", "macos-arm64"."""
    return f"{_SYSTEMS.get(sys.platform, sys.platform)}-{platform.machine().lower()}"


def is_x86_64() -> bool:
    """Return whether the processor is an x86-64, under any of its names."""
    return platform.machine().lower() in ("x86_64", "amd64")


def host_title(host: str) -> str:
    """Return a host's name for people: "macOS arm64"."""
    system, _, machine = host.partition("-")
    return f"{_TITLES.get(system, system)} {machine}"


@cache
def cpu_brand() -> str:
    """Return the CPU's name where a system call returns it (macOS); otherwise an empty text."""
    if sys.platform != "darwin":
        return ""
    import ctypes

    with contextlib.suppress(OSError, AttributeError):  # sysctlbyname(3)
        library = ctypes.CDLL(None)
        size = ctypes.c_size_t(_LONGEST_NAME)
        name = ctypes.create_string_buffer(_LONGEST_NAME)
        asked = b"machdep.cpu.brand_string"
        if library.sysctlbyname(asked, name, ctypes.byref(size), None, 0) == 0:
            return name.value.decode(errors="replace")
    return ""


def usable_cores(limits: Path = _CGROUP) -> int:
    """Return the number of cores that this process may use; taskset or a container can limit it.

    `limits`: a container's, as cgroup v2 and v1 write them.
    """
    cores = os.cpu_count() or 1
    if sys.platform == "linux":
        with contextlib.suppress(OSError):
            cores = len(os.sched_getaffinity(0))
        quota = _words(limits / "cpu.max") or [
            *_words(limits / "cpu/cpu.cfs_quota_us"),
            *_words(limits / "cpu/cpu.cfs_period_us"),
        ]
        if len(quota) == 2 and all(word.isdecimal() for word in quota) and int(quota[1]):
            cores = min(cores, max(1, -(-int(quota[0]) // int(quota[1]))))
    return cores


def usable_memory(limits: Path = _CGROUP) -> int:
    """Return the bytes of memory that this process may use; `limits`: see `usable_cores`."""
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    if sys.platform == "linux":
        for name in ("memory.max", "memory/memory.limit_in_bytes"):
            memory = min([memory, *(int(w) for w in _words(limits / name) if w.isdecimal())])
    return memory


def _words(path: Path) -> list[str]:
    """Return the words in a file of the kernel; none if it is missing."""
    try:
        return path.read_text(encoding="ascii", errors="replace").split()
    except OSError:
        return []


def file_clock_ns() -> int:
    """Return the time of the clock that dates files, in nanoseconds since 1970."""
    return time.clock_gettime_ns(_COARSE_CLOCK) if sys.platform == "linux" else time.time_ns()


def next_file_tick_ns() -> int:
    """Return `file_clock_ns`, one tick later than anything written before the call.

    Since 6.13, Linux dates a file whose time was just read by the fine clock, which is ahead of the
    coarse one by up to a tick.
    """
    if sys.platform != "linux":
        time.sleep(_TICK_SECONDS)
        return file_clock_ns()
    before = time.clock_gettime_ns(time.CLOCK_REALTIME)
    for _ in range(_MOST_LOOKS):  # the clock may be set back meanwhile
        if file_clock_ns() > before:
            break
        time.sleep(_TICK_SECONDS / 20)
    return file_clock_ns()


def wait_for_exit(process: int) -> None:
    """Wait until a child has ended without reaping it, so that its process id is not reused."""
    if sys.platform != "darwin":
        os.waitid(os.P_PID, process, os.WEXITED | os.WNOWAIT)
        return
    import select

    # kqueue(2); Python has waitid there from 3.13 on
    queue = select.kqueue()
    try:
        with contextlib.suppress(ProcessLookupError):  # it has ended already
            ended = select.kevent(
                process, select.KQ_FILTER_PROC, select.KQ_EV_ADD, select.KQ_NOTE_EXIT
            )
            queue.control([ended], 1)
    finally:
        queue.close()


def sync_disk(paths: Sequence[Path]) -> bool:
    """Sync the disk that all of these are on; returns False where that is impossible."""
    if sys.platform != "linux":
        return False
    import ctypes

    library = ctypes.CDLL(None, use_errno=True)
    if not hasattr(library, "syncfs"):
        return False
    devices = set()
    for path in paths:
        with contextlib.suppress(OSError):
            devices.add(path.lstat().st_dev)
    if len(devices) != 1:
        return False
    number = os.open(paths[-1].parent, os.O_RDONLY)
    try:
        failed = library.syncfs(number)
        if failed and ctypes.get_errno() not in _CANNOT_SYNC:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), str(paths[-1]))
        return not failed
    finally:
        os.close(number)


def sync_file(number: int, last: bool) -> None:
    """Call fsync on an open file or folder. Raises OSError for a failing disk.

    `last`: whether it is the last of those synced together. On macOS fsync leaves the bytes in the
    drive's own memory; one F_FULLFSYNC, at the end, has it write all of them (fsync(2)).
    """
    if sys.platform == "darwin" and last:
        import fcntl

        with contextlib.suppress(OSError):  # a volume on the network
            fcntl.fcntl(number, fcntl.F_FULLFSYNC)
            return
    try:
        os.fsync(number)
    except OSError as error:
        if error.errno not in _CANNOT_SYNC:
            raise


def start_writing(path: Path) -> None:
    """Let the system start to write a file to its disk, so that syncing it later takes less
    time.
    """
    if sys.platform == "linux":
        with contextlib.suppress(OSError), path.open("rb") as file:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def share_blocks(reader: IO[bytes], writer: IO[bytes]) -> bool:
    """Copy a file without copying its blocks (reflink); returns whether that worked."""
    if sys.platform == "linux":
        import fcntl

        with contextlib.suppress(OSError):
            fcntl.ioctl(writer.fileno(), _FICLONE, reader.fileno())
            return True
    return False


def signal_name(number: int) -> str:
    """Return a signal's name, or its number if this system's Python does not name it."""
    import signal

    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
