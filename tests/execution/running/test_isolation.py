"""What an isolated step can access, under each mechanism, tested with a hostile program."""

import ctypes
import json
import os
import socket
import struct
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from itertools import product
from pathlib import Path
from uuid import uuid4

import pytest

from buildsys import cli
from buildsys.errors import IsolationUnavailable
from buildsys.execution.running import isolation, landlock
from buildsys.execution.running.isolation import Access, Isolation, Mechanism
from buildsys.execution.running.process import Command, run_command
from buildsys.operating_system import host_title, platform_name
from tests.processes import processes_in

HOSTILE = Path(__file__).with_name("hostile_step.py")


@pytest.fixture(params=[Mechanism.BUBBLEWRAP, Mechanism.LANDLOCK])
def mechanism(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Isolation:
    """One isolation mechanism."""
    monkeypatch.setenv(isolation.VARIABLE, request.param)
    try:
        return isolation.choose()
    except IsolationUnavailable as error:
        pytest.skip(str(error))


class Place:
    """A step's folder, surrounded by things that it must not access."""

    def __init__(self, root: Path) -> None:
        self.scratch = root / "outside" / "scratch"
        for name in ("work", "outputs", "inputs"):
            (self.scratch / name).mkdir(parents=True)
        self.blobs = root / "store" / "blobs"
        self.blobs.mkdir(parents=True)
        (self.blobs / "mine").write_text("mine")
        (self.blobs / "other").write_text("other")
        (self.scratch / "inputs" / "model").symlink_to(self.blobs / "mine")
        (root / "home").mkdir()
        (root / "home" / "secret").write_text("secret")
        (root / "pycache").mkdir()
        (root / "outside" / "other.txt").write_text("other")
        self.root = root

    def access(self, network: bool = False) -> Access:
        """The access that the runner grants."""
        inputs = self.scratch / "inputs"
        return Access(
            programs=(*isolation.python_folders(Path(sys.executable)), str(HOSTILE)),
            readable=(
                *isolation.link_targets(inputs),
                str(inputs),
                str(self.root / "pycache"),
                str(self.scratch / "places.json"),
            ),
            writable=(str(self.scratch / "work"), str(self.scratch / "outputs")),
            network=network,
        )

    def run(self, chosen: Isolation, *arguments: str, network: bool = False) -> tuple[int, str]:
        """Run a program as the step; returns (exit code or minus signal, log)."""
        log = self.root / "log"
        work = self.scratch / "work"
        command = Command(
            arguments=isolation.isolate(
                chosen, arguments, self.access(network), work, self.scratch
            ),
            folder=work,
            environment={"PATH": os.environ["PATH"], "HOME": str(work), "TMPDIR": str(work)},
            log=log,
        )
        code = run_command(command, lambda *_: None)
        return isolation.end_code(chosen, code), log.read_text()


@pytest.fixture
def place(tmp_path: Path) -> Place:
    """A new place for each test."""
    return Place(tmp_path)


@pytest.fixture
def around(place: Place, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, object]]:
    """Servers on this machine started by the test, and the names of everything around the step."""
    with ExitStack() as opened:

        def server(family: int, kind: int, address: object) -> socket.socket:
            made = opened.enter_context(socket.socket(family, kind))
            made.bind(address)  # type: ignore[arg-type]
            if kind == socket.SOCK_STREAM:
                made.listen()
            return made

        abstract = f"buildsys-{uuid4().hex}"
        stream, datagram = socket.SOCK_STREAM, socket.SOCK_DGRAM
        tcp = server(socket.AF_INET, stream, ("127.0.0.1", 0))
        udp = server(socket.AF_INET, datagram, ("127.0.0.1", 0))
        monkeypatch.chdir(place.root)  # the path of a socket is limited
        server(socket.AF_UNIX, stream, "socket")
        server(socket.AF_UNIX, datagram, "datagram")
        server(socket.AF_UNIX, stream, "\0" + abstract)
        yield _shared(opened) | {
            "home": str(place.root / "home"),
            "outside": str(place.root / "outside"),
            "store": str(place.blobs),
            "blob": str(place.blobs / "other"),
            "input": str(place.scratch / "inputs" / "model"),
            "linked": str(place.blobs / "mine"),
            "work": str(place.scratch / "work"),
            "output": str(place.scratch / "outputs" / "made"),
            "pycache": str(place.root / "pycache"),
            "parent": os.getpid(),
            "tcp": tcp.getsockname()[1],
            "udp": udp.getsockname()[1],
            "unix": str(place.root / "socket"),
            "datagram": str(place.root / "datagram"),
            "abstract": abstract,
        }


def _shared(opened: ExitStack) -> dict[str, object]:
    """Create shared memory, semaphores and message queues that other programs could access."""
    libc = ctypes.CDLL(None)
    memory = libc.shmget(0, 4096, 0o600)
    opened.callback(libc.shmctl, memory, 0, None)  # IPC_RMID
    semaphores = libc.semget(0, 1, 0o600)
    opened.callback(libc.semctl, semaphores, 0, 0)
    messages = libc.msgget(0, 0o600)
    opened.callback(libc.msgctl, messages, 0, None)
    queue = f"/buildsys-{uuid4().hex}"
    os.close(libc.mq_open(queue.encode(), os.O_CREAT | os.O_RDWR, 0o600, None))
    opened.callback(libc.mq_unlink, queue.encode())
    assert min(memory, semaphores, messages) >= 0
    return {"memory": memory, "semaphores": semaphores, "messages": messages, "queue": queue}


@pytest.mark.slow
def test_every_attempt_of_a_hostile_step_fails(
    place: Place, around: dict[str, object], mechanism: Isolation
) -> None:
    """Every forbidden action fails, allowed ones work, and no process remains."""
    (place.scratch / "places.json").write_text(json.dumps(around))
    before = _mode_and_time(place.blobs / "mine")
    code, log = place.run(
        mechanism, sys.executable, str(HOSTILE), str(place.scratch / "places.json")
    )
    assert code == 0, log
    found = json.loads(log)
    assert [
        name for name, error in found.items() if not error and not name.startswith("may ")
    ] == []
    assert {name: error for name, error in found.items() if error and name.startswith("may ")} == {}
    assert (place.root / "outside" / "other.txt").read_text() == "other"
    assert (place.blobs / "mine").read_text() == "mine"
    assert _mode_and_time(place.blobs / "mine") == before
    assert processes_in(place.scratch) == []


def _mode_and_time(path: Path) -> tuple[int, int]:
    stat = path.stat()
    return stat.st_mode, stat.st_mtime_ns


@pytest.mark.slow
def test_how_a_step_ended_comes_through(place: Place, mechanism: Isolation) -> None:
    """A step's exit code or signal is passed on."""
    assert place.run(mechanism, "/bin/sh", "-c", "exit 3")[0] == 3
    assert place.run(mechanism, "/bin/sh", "-c", "kill -9 $$")[0] == -9


@pytest.mark.slow
def test_pipes_of_any_number_reach_a_step(place: Place, mechanism: Isolation) -> None:
    """A pipe with any descriptor number reaches the step."""
    for number in range(3, 10):
        step = ("/bin/sh", "-c", f"echo {number} >&{number}")
        work = place.scratch / "work"
        command = isolation.isolate(mechanism, step, place.access(), work, place.scratch)
        assert "\n" not in " ".join(command), "an error quotes it, to repeat it"
        parent = ("/bin/sh", "-c", f'exec {number}>&1; exec "$@"', "sh")
        done = subprocess.run((*parent, *command), check=True, capture_output=True, text=True)
        assert done.stdout == f"{number}\n"


@pytest.mark.slow
def test_a_step_that_fetches_has_the_internet_and_nothing_of_this_machine(
    place: Place, mechanism: Isolation
) -> None:
    """A fetching step can use TCP to the internet, but not this machine's network or Unix sockets."""
    text = "import socket; socket.socket(); socket.socket(socket.AF_UNIX)"
    code, log = place.run(mechanism, sys.executable, "-c", text, network=True)
    assert code == 1
    assert log.strip().endswith("Permission denied")
    assert log.count("socket.socket") == 1
    with socket.create_server(("127.0.0.1", 0)) as server:
        text = f"import socket; socket.create_connection({server.getsockname()!r}, 5)"
        assert place.run(mechanism, sys.executable, "-c", text, network=True) == (0, "")


@pytest.mark.slow
def test_many_inputs_are_readable_and_their_neighbours_are_not(
    place: Place, mechanism: Isolation
) -> None:
    """With more inputs than bubblewrap can mount, inputs are readable and neighbouring files are
    not.
    """
    for index in range(isolation._MOST_SINGLE_FILES + 1):
        (place.blobs / str(index)).write_text(str(index))
        (place.scratch / "inputs" / str(index)).symlink_to(place.blobs / str(index))
    every = f"cat {place.scratch}/inputs/* >/dev/null"
    assert place.run(mechanism, "/bin/sh", "-c", every) == (0, "")
    if mechanism.mechanism == Mechanism.LANDLOCK or landlock.landlock_abi() >= landlock.FIRST_ABI:
        assert place.run(mechanism, "/bin/cat", str(place.blobs / "other"))[0] == 1


def test_an_unknown_mechanism_is_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """An unknown mechanism is an error that lists the valid ones, also for commands that run no
    step.
    """
    monkeypatch.setenv(isolation.VARIABLE, "firejail")
    with pytest.raises(
        IsolationUnavailable, match="not one of auto, required, bubblewrap, landlock"
    ):
        isolation.choose()
    for command in ("check", "plan"):
        assert cli.main(["-C", str(tmp_path), command]) == 1
        assert "BUILDSYS_ISOLATION=firejail is not one of auto" in capsys.readouterr().err


def test_required_refuses_where_nothing_works(monkeypatch: pytest.MonkeyPatch) -> None:
    """`required` stops if no mechanism works, with the reasons; `auto` continues with a message."""
    monkeypatch.setattr(sys, "platform", "darwin")
    monkeypatch.setenv(isolation.VARIABLE, "required")
    isolation.find.cache_clear()
    isolation._find_one.cache_clear()
    try:
        with pytest.raises(IsolationUnavailable, match="no mechanism of macOS"):
            isolation.choose()
        monkeypatch.setenv(isolation.VARIABLE, "auto")
        assert (
            isolation.choose().text
            == f"none (no mechanism of {host_title(platform_name())} is supported)"
        )
    finally:
        isolation.find.cache_clear()
        isolation._find_one.cache_clear()


def test_the_filter_is_one_program_for_each_kind_of_step() -> None:
    """The seccomp filter is one valid program per kind of step: eight bytes per instruction, no
    jump outside.
    """
    for network, mounted in product((True, False), repeat=2):
        program = landlock.seccomp_filter(network, mounted)
        count = len(program) // 8
        for index in range(count):
            jump = max(program[index * 8 + 2 : index * 8 + 4])
            assert index + 1 + jump < count or program[index * 8] == 0x06


NUMBERS = {
    "x86_64": (0xC000003E, 56, 302, 141, 203, 16, 29, 300),
    "aarch64": (0xC00000B7, 220, 261, 140, 122, 29, 194, 262),
}
"""AUDIT_ARCH; clone, prlimit64, setpriority, sched_setaffinity, ioctl, shmget, fanotify_init."""


@pytest.mark.parametrize("machine", NUMBERS)
def test_the_filter_reads_arguments_where_these_decide(
    machine: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The filter checks arguments: a process may change itself but not others, and create threads
    but not namespaces.
    """
    system = os.uname()
    monkeypatch.setattr(os, "uname", lambda: os.uname_result((*system[:4], machine)))
    architecture, clone, limit, priority, affinity, ioctl, memory, watch = NUMBERS[machine]
    calls = {
        "thread": (clone, 0x3D0F00, 0),
        "child": (clone, 0x1200011, 0),
        "clone3": (435, 0, 0),
        "users": (clone, 0x10000011, 0),
        "mounts": (clone, 0x20011, 0),
        "own limit": (limit, 0, 7),
        "limit": (limit, 4242, 7),
        "own priority": (priority, 0, 0),
        "priority": (priority, 0, 4242),
        "priority of a user": (priority, 2, 0),
        "own cores": (affinity, 0, 8),
        "cores": (affinity, 4242, 8),
        "size of a terminal": (ioctl, 1, 0x5413),
        "flags": (ioctl, 3, 0x40086602),
        "memory": (memory, 1, 4096),
        "watch": (watch, 0, 0),
    }
    refused, nothing = 0x50001, 0x50000
    always = {"clone3": 0x50026, "users": refused, "mounts": refused, "watch": refused}
    alone = dict.fromkeys(("limit", "priority", "priority of a user", "flags", "memory"), refused)
    for mounted, expected in ((True, always), (False, {**always, **alone, "cores": nothing})):
        program = landlock.seccomp_filter(network=False, mounted=mounted)
        answers = {name: _answer(program, architecture, *call) for name, call in calls.items()}
        assert {name: code for name, code in answers.items() if code != 0x7FFF0000} == expected


def _answer(program: bytes, architecture: int, number: int, first: int, second: int) -> int:
    """Interpret the filter for a system call; returns the kernel's decision."""
    data = struct.pack("=IIQQQ", number, architecture, 0, first, second)
    value, place = 0, 0
    while True:
        code, yes, no, constant = struct.unpack_from("=HBBI", program, 8 * place)
        if code == 0x06:
            return int(constant)
        if code == 0x20:
            (value,) = struct.unpack_from("=I", data, constant)
        elif code == 0x54:
            value &= constant
        else:
            holds = {0x15: value == constant, 0x35: value >= constant, 0x45: value & constant}
            place += yes if holds[code] else no
        place += 1


def test_folders_stand_for_files_that_are_too_many() -> None:
    """Too many files are replaced by their folders, from the deepest on."""
    paths = tuple(f"/data/{a}/{b}/x.jpg" for a in range(3) for b in range(200))
    assert set(isolation.joined_folders(paths)) == {"/data/0", "/data/1", "/data/2"}
