"""A program in place of a step: tries forbidden and allowed actions, and prints the results.

`python hostile_step.py PLACES`: a JSON file with paths and addresses around the step.
"""

import ctypes
import json
import multiprocessing
import os
import platform
import resource
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Callable
from fcntl import ioctl
from pathlib import Path

_LIBC = ctypes.CDLL(None, use_errno=True)
_NEW_USER, _SIGCHLD = 0x10000000, 17
_CLONE, _FANOTIFY_INIT = {"aarch64": (220, 262)}.get(platform.machine(), (56, 300))
_CLONE3, _FILE_SETATTR = 435, 469
_STAT = 2  # IPC_STAT


def main() -> None:
    """Print one JSON object: attempt -> "" if it succeeded, else the error."""
    places = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    found = {name: _try(action) for name, action in attempts(places).items()}
    found |= {f"may {name}": _try(action) for name, action in work(places).items()}
    print(json.dumps(found), flush=True)
    if not os.fork():  # its remaining processes end with it
        os.execvp("sleep", ["sleep", "77"])


def attempts(places: dict[str, str]) -> dict[str, Callable[[], object]]:
    """Actions that must fail."""
    outside = Path(places["outside"])
    parent = int(places["parent"])
    stream, datagram = socket.SOCK_STREAM, socket.SOCK_DGRAM

    def find(folder: Path, name: str) -> None:
        if name not in os.listdir(folder):  # if the folder is not the real one
            raise FileNotFoundError(name)

    def change(path: Path) -> None:
        mode = path.stat().st_mode
        os.chmod(path, 0o777)
        if path.stat().st_mode == mode:  # the call may do nothing
            raise PermissionError(path)

    def age(path: Path) -> None:
        time = path.stat().st_mtime
        os.utime(path, (1, 1))
        if path.stat().st_mtime == time:
            raise PermissionError(path)

    def reach(family: int, kind: int, address: object) -> None:
        with socket.socket(family, kind) as made:
            made.settimeout(3)
            made.connect(address)  # type: ignore[arg-type]
            made.send(b"x")

    def tell(address: str) -> None:
        near, _ = socket.socketpair(socket.AF_UNIX, datagram)
        near.sendto(b"x", address)

    def trace() -> None:
        _call(_LIBC.ptrace, 16, parent, 0, 0)  # PTRACE_ATTACH

    def clone(*arguments: object) -> None:
        if _call(_LIBC.syscall, *arguments) == 0:
            os._exit(0)

    def flag(path: str) -> None:
        with open(path, "rb") as stream:
            flags = bytearray(8)
            ioctl(stream, 0x80086601, flags)  # FS_IOC_GETFLAGS
            ioctl(stream, 0x40086602, bytes(flags))  # FS_IOC_SETFLAGS

    def pin() -> None:
        before = os.sched_getaffinity(parent)
        os.sched_setaffinity(parent, {min(before)})
        if os.sched_getaffinity(parent) == before:  # the call may do nothing
            raise PermissionError(parent)
        os.sched_setaffinity(parent, before)

    def idle() -> None:
        before = os.sched_getscheduler(parent)
        os.sched_setscheduler(parent, os.SCHED_BATCH, os.sched_param(0))
        if os.sched_getscheduler(parent) == before:
            raise PermissionError(parent)
        os.sched_setscheduler(parent, before, os.sched_param(0))

    def limit() -> None:
        resource.prlimit(parent, resource.RLIMIT_CORE, resource.getrlimit(resource.RLIMIT_CORE))

    def keep(setting: str) -> None:
        path = Path("/proc/sys", setting)
        path.write_text(path.read_text())

    def leave() -> None:
        os.setsid()

    return {
        "list the home": lambda: find(Path(places["home"]), "secret"),
        "read the home": lambda: Path(places["home"], "secret").read_bytes(),
        "read /etc/shadow": lambda: Path("/etc/shadow").read_bytes(),
        "read a file of the workspace": (outside / "other.txt").read_bytes,
        "list the workspace": lambda: find(outside, "other.txt"),
        "list the store": lambda: find(Path(places["store"]), "other"),
        "read another blob": lambda: Path(places["blob"]).read_bytes(),
        "write outside": lambda: (outside / "made").write_text("x"),
        "write over a file": lambda: (outside / "other.txt").write_text("x"),
        "empty a file": lambda: os.truncate(outside / "other.txt", 0),
        "remove a file": lambda: os.unlink(outside / "other.txt"),
        "write into its input": lambda: Path(places["input"]).write_text("x"),
        "change its input's mode": lambda: change(Path(places["linked"])),
        "change its input's time": lambda: age(Path(places["linked"])),
        "replace its input": lambda: os.rename(places["work"], places["input"]),
        "write into the bytecode": lambda: Path(places["pycache"], "x.pyc").write_bytes(b"x"),
        "write into its environment": lambda: Path(sys.prefix, "x.pth").write_text("x"),
        "write into /tmp": lambda: Path("/tmp/buildsys-hostile").write_text("x"),
        "TCP to this machine": lambda: reach(socket.AF_INET, stream, ("127.0.0.1", places["tcp"])),
        "TCP": lambda: reach(socket.AF_INET, stream, ("192.0.2.1", 80)),
        "UDP": lambda: reach(socket.AF_INET, datagram, ("127.0.0.1", places["udp"])),
        "UDP, IPv6": lambda: reach(socket.AF_INET6, datagram, ("::1", places["udp"])),
        "a Unix socket": lambda: reach(socket.AF_UNIX, stream, places["unix"]),
        "an abstract socket": lambda: reach(socket.AF_UNIX, stream, "\0" + places["abstract"]),
        "a Unix datagram": lambda: tell(places["datagram"]),
        "netlink": lambda: socket.socket(socket.AF_NETLINK, socket.SOCK_RAW),
        "signal the parent": lambda: os.kill(parent, 0),
        "trace the parent": trace,
        "read the parent's environment": lambda: Path(f"/proc/{parent}/environ").read_bytes(),
        "read the parent's memory": lambda: Path(f"/proc/{parent}/mem").open("rb"),
        "write a setting of the kernel": lambda: keep("kernel/core_pattern"),
        "leave its process group": leave,
        "become another user": lambda: os.setuid(12345),
        "clone into a namespace": lambda: clone(_CLONE, _NEW_USER | _SIGCHLD, 0, 0, 0, 0),
        "clone3 into a namespace": lambda: clone(
            _CLONE3, struct.pack("=8Q", _NEW_USER, 0, 0, 0, _SIGCHLD, 0, 0, 0), ctypes.c_size_t(64)
        ),
        "limit the parent": limit,
        "slow the parent": lambda: os.setpriority(
            os.PRIO_PROCESS, parent, os.getpriority(os.PRIO_PROCESS, parent)
        ),
        "keep the parent to one core": pin,
        "schedule the parent": idle,
        "see another's memory": lambda: _call(
            _LIBC.shmctl, places["memory"], _STAT, ctypes.create_string_buffer(512)
        ),
        "see another's semaphores": lambda: _call(
            _LIBC.semctl, places["semaphores"], 0, _STAT, ctypes.create_string_buffer(512)
        ),
        "see another's messages": lambda: _call(
            _LIBC.msgctl, places["messages"], _STAT, ctypes.create_string_buffer(512)
        ),
        "remove another's queue": lambda: _call(_LIBC.mq_unlink, str(places["queue"]).encode()),
        "watch files": lambda: _call(_LIBC.syscall, _FANOTIFY_INIT, 0x200, 0),
        "change its input's flags": lambda: flag(places["linked"]),
        "change its input's attributes": lambda: _call(
            _LIBC.syscall,
            _FILE_SETATTR,
            -100,  # AT_FDCWD
            str(places["linked"]).encode(),
            bytes(24),
            ctypes.c_size_t(24),
            0,
        ),
        "mount": lambda: subprocess.run(
            ["mount", "-t", "tmpfs", "x", places["work"]], check=True, capture_output=True
        ),
    }


def work(places: dict[str, str]) -> dict[str, Callable[[], object]]:
    """Actions that must work."""

    def fork() -> None:
        with multiprocessing.get_context("fork").Pool(1) as pool:
            assert pool.map(len, ["ab"]) == [2]

    def own_child() -> None:
        child = subprocess.Popen(["sleep", "60"])
        child.terminate()
        child.wait()

    def own_limits() -> None:
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        os.nice(1)
        os.sched_setaffinity(0, os.sched_getaffinity(0))

    def own_threads() -> None:
        thread = threading.Thread(target=threading.get_ident)
        thread.start()
        thread.join()
        cores = (1 << min(os.sched_getaffinity(0))).to_bytes(128, "little")
        mine = ctypes.c_ulong(threading.get_ident())
        assert _LIBC.pthread_setaffinity_np(mine, ctypes.c_size_t(128), cores) == 0

    def report() -> None:
        os.write(int(os.environ["BUILDSYS_PROGRESS_FD"]), b"")

    return {
        "read its input": lambda: Path(places["input"]).read_bytes(),
        "write its work": lambda: Path(places["work"], "made").write_text("x"),
        "write its outputs": lambda: Path(places["output"]).write_text("x"),
        "end its own child": own_child,
        "share work between processes": fork,
        "connect two of its processes": socket.socketpair,
        "set its own limits": own_limits,
        "place its own threads": own_threads,
        "see the processor": lambda: Path("/proc/cpuinfo").read_bytes(),
        "report progress": report,
    }


def _call(function: Callable[..., int], *arguments: object) -> int:
    result = function(*arguments)
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result


def _try(action: Callable[[], object]) -> str:
    try:
        action()
    except (OSError, subprocess.CalledProcessError) as error:
        return f"{type(error).__name__}: {error}"
    return ""


if __name__ == "__main__":
    main()
