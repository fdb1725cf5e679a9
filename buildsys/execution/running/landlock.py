"""Restricts itself by Landlock and seccomp, then becomes a step: `python -I -S landlock.py POLICY
COMMAND...`.

It runs under the Python of the core, before the step's own Python starts, and imports only the
standard library. POLICY is a file written by `isolation`: one line for each path that may be
accessed. Constants: linux/landlock.h, linux/seccomp.h, linux/filter.h, asm/unistd.h.
"""

import ctypes
import os
import struct
import sys

NETWORK = "network"
"""The line of a policy that gives a step access to the network."""
PROGRAMS, READ, WRITE, DEVICE, SHARED = "x", "r", "w", "d", "s"
"""First words of a policy's lines: run and read; read; read and write below it; use as a device;
keep files there without access to other users' files.
"""
FIRST_ABI = 3
"""Older Landlock (before Linux 6.2) cannot prevent a step from truncating files."""
SIGNALS_ABI = 6
"""Older Landlock (before Linux 6.12) cannot prevent a step from signalling other processes."""

_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_VERSION, _PATH_BENEATH = 1, 1
_EXECUTE, _WRITE_FILE, _READ_FILE, _READ_DIR = 1 << 0, 1 << 1, 1 << 2, 1 << 3
_REMOVE_DIR, _REMOVE_FILE, _MAKE_DIR, _MAKE_REG = 1 << 4, 1 << 5, 1 << 7, 1 << 8
_MAKE_FIFO, _MAKE_SYM, _REFER, _TRUNCATE, _IOCTL = 1 << 10, 1 << 12, 1 << 13, 1 << 14, 1 << 15
_EVERYTHING = (1 << 16) - 1
_OF_A_FILE = _EXECUTE | _WRITE_FILE | _READ_FILE | _TRUNCATE | _IOCTL
_READ_ALL = _READ_FILE | _READ_DIR
_RIGHTS = {
    PROGRAMS: _READ_ALL | _EXECUTE,
    READ: _READ_ALL,
    WRITE: _READ_ALL
    | _WRITE_FILE
    | _TRUNCATE
    | _REMOVE_DIR
    | _REMOVE_FILE
    | _MAKE_DIR
    | _MAKE_REG
    | _MAKE_FIFO
    | _MAKE_SYM
    | _REFER,
    DEVICE: _READ_ALL | _WRITE_FILE | _IOCTL,
    SHARED: _READ_FILE | _WRITE_FILE | _TRUNCATE | _MAKE_REG | _REMOVE_FILE,
}
_TCP, _SCOPES = 0b11, 0b11
"""Binding and connecting; abstract Unix sockets and signals."""

_NO_NEW_PRIVS, _SET_SECCOMP, _FILTER_MODE, _CAPBSET_DROP = 38, 22, 2, 24
_CAPABILITIES_3 = 0x20080522
_DAC_OVERRIDE = 1
_MOST_CAPABILITIES = 64
_LOAD, _EQUAL, _AT_LEAST, _ANY_OF, _AND, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x54, 0x06
_FIRST, _SECOND = 16, 24
"""Offsets in struct seccomp_data of the lower half of an argument."""
_ALLOW, _REFUSE = 0x7FFF0000, 0x00050000
_DO_NOTHING = _REFUSE
"""Error 0: the call succeeds without doing anything."""
_EPERM, _EACCES, _ENOSYS = 1, 13, 38
_NEW_NAMESPACES = 0x7E020000
"""CLONE_NEW* of linux/sched.h, those that clone accepts."""
_CLONE3 = 435
_SET_FLAGS = (0x40086602, 0x401C5820)
"""FS_IOC_SETFLAGS and FS_IOC_FSSETXATTR, which work on a file opened for reading."""
_DGRAM, _TYPE = 2, 0xF
_INTERNET = (2, 10, 16)
"""AF_INET, AF_INET6, and AF_NETLINK, which resolvers use to list this machine's addresses."""
_SYSCALLS: dict[str, dict[str, tuple[int, ...]]] = {
    "x86_64": {
        "architecture": (0xC000003E,),
        "socket": (41,),
        "socketpair": (53,),
        "connect": (42,),
        "clone": (56,),
        "refused": (
            *(109, 112, 101, 310, 311, 438, 425, 321, 298, 323, 248, 249, 250, 304, 272, 308),
            *(300, 301),
        ),
        "attributes": (92, 93, 94, 260, 188, 189, 190, 197, 198, 199, 463, 466, 468, 469, 254),
        "ioctl": (16,),
        "modes and times": (90, 91, 268, 452, 132, 235, 261, 280),
        "shared by number or name": (
            *(29, 30, 31, 67, 64, 65, 66, 220, 68, 69, 70, 71),
            *(240, 241, 242, 243, 244, 245),
        ),
        "others": (251, 312, 440, 448),
        "others, unless the first argument is 0": (302, 314, 256, 279),
        "threads": (203, 144, 142),
        "setpriority": (141,),
    },
    "aarch64": {
        "architecture": (0xC00000B7,),
        "socket": (198,),
        "socketpair": (199,),
        "connect": (203,),
        "clone": (220,),
        "refused": (
            *(154, 157, 117, 270, 271, 438, 425, 280, 241, 282, 217, 218, 219, 265, 97, 268),
            *(262, 263),
        ),
        "attributes": (54, 55, 5, 6, 7, 14, 15, 16, 463, 466, 468, 469, 27),
        "ioctl": (29,),
        "modes and times": (52, 53, 452, 88),
        "shared by number or name": (
            *(194, 196, 195, 197, 190, 193, 191, 192, 186, 189, 188, 187),
            *(180, 181, 182, 183, 184, 185),
        ),
        "others": (30, 272, 440, 448),
        "others, unless the first argument is 0": (261, 274, 238, 239),
        "threads": (122, 119, 118),
        "setpriority": (140,),
    },
}
"""Numbers of system calls by processor (`architecture`: AUDIT_ARCH of linux/audit.h).

`refused`: setpgid and setsid (a step is ended with its process group), ptrace, process_vm_readv,
process_vm_writev, pidfd_getfd, io_uring_setup (its sockets bypass every filter), bpf,
perf_event_open, userfaultfd, add_key, request_key, keyctl, open_by_handle_at, unshare, setns,
fanotify_init, fanotify_mark.

`attributes`: chown, setxattr and removexattr in their forms, file_getattr, file_setattr,
inotify_add_watch.

`modes and times`: chmod and utime in their forms: they do nothing, since copying a file calls them.

`shared by number or name`: memory, semaphores and queues of System V; message queues of POSIX.

`others`: ioprio_set, kcmp, process_madvise, process_mrelease; with a process as first argument
prlimit64, sched_setattr, migrate_pages, move_pages.

`threads`: sched_setaffinity, sched_setscheduler, sched_setparam: for a thread other than the caller
they do nothing, since libraries place their own threads and a filter cannot check whose a thread
is.
"""
_OPEN_PATH = 0o10000000
_COMPATIBLE_ABI = 0x40000000
"""First system call with 32-bit pointers on x86-64: the same calls under other numbers."""


def seccomp_filter(network: bool, mounted: bool) -> bytes:
    """Return the filter as a program of struct sock_filter; empty for an unsupported processor.

    Without `network`, no socket can be made, except pairs of connected stream sockets. With it,
    only internet sockets: none to programs of this machine. `mounted`: other files are read-only or
    not mounted; where only Landlock protects them, it does not prevent changes of modes and times.
    """
    machine = os.uname().machine
    if machine not in _SYSCALLS or struct.calcsize("P") != 8:
        return b""
    calls = _SYSCALLS[machine]
    (architecture,), (socket,), (pairs,), (clone,) = (
        calls[name] for name in ("architecture", "socket", "socketpair", "clone")
    )
    refused = (*calls["refused"], *(() if network else (socket, *calls["connect"])))
    program = [
        (_LOAD, 0, 0, 4),
        (_EQUAL, 1, 0, architecture),
        (_RETURN, 0, 0, _REFUSE | _EPERM),
        (_LOAD, 0, 0, 0),
        (_AT_LEAST, 0, 1, _COMPATIBLE_ABI),
        (_RETURN, 0, 0, _REFUSE | _EPERM),
    ]
    for number in refused:
        program += _answer(number, _REFUSE | _EPERM)
    program += [
        # clone3 has its flags in memory, which no filter can read; the C library then calls clone
        *_answer(_CLONE3, _REFUSE | _ENOSYS),
        (_EQUAL, 0, 4, clone),
        (_LOAD, 0, 0, _FIRST),
        # in its own namespace, a program has all of root's rights
        (_ANY_OF, 0, 1, _NEW_NAMESPACES),
        (_RETURN, 0, 0, _REFUSE | _EPERM),
        (_RETURN, 0, 0, _ALLOW),
    ]
    if not mounted:
        program += _keep_from_others(calls)
    program += [
        (_EQUAL, 0, 5, pairs),
        (_LOAD, 0, 0, _SECOND),  # the type
        (_AND, 0, 0, _TYPE),
        (_EQUAL, 0, 1, _DGRAM),  # a datagram can be sent to any address
        (_RETURN, 0, 0, _REFUSE | _EACCES),
        (_RETURN, 0, 0, _ALLOW),
    ]
    if network:
        program += [(_EQUAL, 1, 0, socket), (_RETURN, 0, 0, _ALLOW), (_LOAD, 0, 0, _FIRST)]
        for family in _INTERNET:
            program += [(_EQUAL, 0, 1, family), (_RETURN, 0, 0, _ALLOW)]
        program += [(_RETURN, 0, 0, _REFUSE | _EACCES)]
    program += [(_RETURN, 0, 0, _ALLOW)]
    return b"".join(struct.pack("=HBBI", *instruction) for instruction in program)


def _keep_from_others(calls: dict[str, tuple[int, ...]]) -> list[tuple[int, int, int, int]]:
    """Return rules for what namespaces prevent under bubblewrap: changes to other users' files,
    processes and memory.
    """
    program = []
    for name in ("attributes", "shared by number or name", "others"):
        for number in calls[name]:
            program += _answer(number, _REFUSE | _EPERM)
    for number in calls["modes and times"]:
        program += _answer(number, _DO_NOTHING)
    for name, answer in (
        ("others, unless the first argument is 0", _REFUSE | _EPERM),
        ("threads", _DO_NOTHING),
    ):
        for number in calls[name]:
            program += [
                (_EQUAL, 0, 4, number),
                (_LOAD, 0, 0, _FIRST),
                (_EQUAL, 1, 0, 0),  # the caller itself
                (_RETURN, 0, 0, answer),
                (_RETURN, 0, 0, _ALLOW),
            ]
    (setpriority,), (ioctl,) = calls["setpriority"], calls["ioctl"]
    return [
        *program,
        (_EQUAL, 0, 6, setpriority),
        (_LOAD, 0, 0, _FIRST),
        (_EQUAL, 0, 3, 0),  # PRIO_PROCESS
        (_LOAD, 0, 0, _SECOND),
        (_EQUAL, 0, 1, 0),
        (_RETURN, 0, 0, _ALLOW),
        (_RETURN, 0, 0, _REFUSE | _EPERM),
        (_EQUAL, 0, 5, ioctl),
        (_LOAD, 0, 0, _SECOND),
        (_EQUAL, 1, 0, _SET_FLAGS[0]),
        (_EQUAL, 0, 1, _SET_FLAGS[1]),
        (_RETURN, 0, 0, _REFUSE | _EPERM),
        (_RETURN, 0, 0, _ALLOW),
    ]


def _answer(number: int, answer: int) -> list[tuple[int, int, int, int]]:
    return [(_EQUAL, 0, 1, number), (_RETURN, 0, 0, answer)]


def _libc() -> ctypes.CDLL:
    """Load the C library when called, not on import: this module is also imported on other
    systems.
    """
    return ctypes.CDLL(None, use_errno=True)


def landlock_abi() -> int:
    """Return the version of Landlock that this kernel offers; 0 without it."""
    call = _libc().syscall
    return max(0, int(call(_CREATE_RULESET, None, ctypes.c_size_t(0), ctypes.c_uint(_VERSION))))


def main() -> None:
    """Restrict this process permanently, then become the command."""
    policy, command = sys.argv[1], sys.argv[2:]
    with open(policy, encoding="utf-8", errors="surrogateescape", newline="") as stream:
        lines = [line for line in stream.read().split("\0") if line]
    network = NETWORK in lines
    _demand(_libc().prctl(_NO_NEW_PRIVS, 1, 0, 0, 0), "PR_SET_NO_NEW_PRIVS")
    _restrict_files([line for line in lines if line != NETWORK], network)
    _drop_capabilities()
    _restrict_calls(seccomp_filter(network, mounted=False))
    os.execv(command[0], command)  # noqa: S606


def _restrict_files(lines: list[str], network: bool) -> None:
    abi = landlock_abi()
    handled = _EVERYTHING
    for since, right in ((2, _REFER), (3, _TRUNCATE), (5, _IOCTL)):
        handled &= ~right if abi < since else _EVERYTHING
    tcp = _TCP if abi >= 4 and not network else 0
    attributes = struct.pack("=QQQ", handled, tcp, _SCOPES if abi >= SIGNALS_ABI else 0)
    size = 8 if abi < 4 else 16 if abi < SIGNALS_ABI else 24
    rules = _demand(
        _libc().syscall(_CREATE_RULESET, attributes, ctypes.c_size_t(size), ctypes.c_uint(0)),
        "landlock_create_ruleset",
    )
    for line in lines:
        try:
            descriptor = os.open(line[1:], _OPEN_PATH | os.O_CLOEXEC)
        except OSError:  # some systems lack some of these paths
            continue
        rights = _RIGHTS[line[0]] & handled
        if not os.path.isdir(descriptor):
            rights &= _OF_A_FILE
        rule = struct.pack("=Qi", rights, descriptor)
        _demand(_libc().syscall(_ADD_RULE, rules, _PATH_BENEATH, rule, 0), "landlock_add_rule")
        os.close(descriptor)
    _demand(_libc().syscall(_RESTRICT_SELF, rules, 0), "landlock_restrict_self")
    os.close(rules)


def _drop_capabilities() -> None:
    """Drop all of root's rights except reading other users' files."""
    if os.geteuid() != 0:
        return
    for number in range(_MOST_CAPABILITIES):
        if number != _DAC_OVERRIDE:
            _libc().prctl(_CAPBSET_DROP, number, 0, 0, 0)
    header = struct.pack("=Ii", _CAPABILITIES_3, 0)
    kept = 1 << _DAC_OVERRIDE
    held = int(_status("CapEff"), 16) & kept
    _demand(_libc().capset(header, struct.pack("=6I", held, held, 0, 0, 0, 0)), "capset")


def _status(name: str) -> str:
    with open("/proc/self/status", encoding="ascii", errors="replace") as stream:
        return next((line.split()[1] for line in stream if line.startswith(f"{name}:")), "0")


def _restrict_calls(program: bytes) -> None:
    buffer = ctypes.create_string_buffer(program, len(program))
    address = ctypes.addressof(buffer)
    frame = struct.pack("@HP", len(program) // 8, address)
    _demand(_libc().prctl(_SET_SECCOMP, _FILTER_MODE, frame, 0, 0), "seccomp")


def _demand(result: int, what: str) -> int:
    """Return the result of a call, or exit: a step never starts partly confined."""
    if result < 0:
        sys.exit(f"{what}: {os.strerror(ctypes.get_errno())}")
    return result


if __name__ == "__main__":
    main()
