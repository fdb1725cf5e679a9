"""A hostile checkpoint is refused by `check`; with `trust: code` it runs, and isolation stops it.

The real Ultralytics step loads it, under bubblewrap alone and under Landlock alone.
"""

import hashlib
import json
import os
import socket
import zipfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from uuid import uuid4

import pytest

from buildsys.cli import main
from buildsys.errors import IsolationUnavailable
from buildsys.execution.running import isolation
from buildsys.execution.running.isolation import Mechanism
from buildsys.execution.session.session import Session
from buildsys.graph import BuildPlan
from tests.execution.running import hostile_step
from tests.tools.places import make_workspace

pytestmark = pytest.mark.tools

RECIPE = """\
name: evil
source: {family: ultralytics, task: pose, weights: {path: evil.pt, sha256: SHA}}
input: {size: 64}
evaluate: none
targets: [triton-onnx]
"""
READING = (
    *("list the home", "read the home", "read /etc/shadow", "read a file of the workspace"),
    *("list the workspace", "list the store", "read another blob"),
    "read the parent's environment",
)
WRITING = (
    *("write outside", "write over a file", "empty a file", "write into its input"),
    *("write into the bytecode", "remove a file"),
)
SENDING = (
    *("TCP to this machine", "TCP", "UDP", "UDP, IPv6", "a Unix socket", "an abstract socket"),
    *("a Unix datagram", "netlink", "signal the parent", "trace the parent"),
    *("write a setting of the kernel", "clone into a namespace", "clone3 into a namespace"),
    *("limit the parent", "slow the parent", "keep the parent to one core", "watch files"),
)
PAYLOAD = """
import json
places = json.loads(PLACES)
chosen = attempts(places)
print("PAYLOAD", json.dumps({name: _try(chosen[name]) for name in json.loads(NAMES)}), flush=True)
"""


@pytest.fixture
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, object]]:
    """The surroundings of a step, with servers that it must not reach."""
    root = tmp_path / "around"
    for name in ("home", "outside", "blobs", "pycache"):
        (root / name).mkdir(parents=True)
    (root / "home" / "secret").write_text("secret")
    (root / "outside" / "other.txt").write_text("other")
    (root / "blobs" / "other").write_text("other")
    abstract = f"buildsys-{uuid4().hex}"
    stream, datagram = socket.SOCK_STREAM, socket.SOCK_DGRAM
    with ExitStack() as opened:

        def server(family: int, kind: int, address: object) -> socket.socket:
            made = opened.enter_context(socket.socket(family, kind))
            made.bind(address)  # type: ignore[arg-type]
            if kind == stream:
                made.listen()
            return made

        tcp = server(socket.AF_INET, stream, ("127.0.0.1", 0))
        udp = server(socket.AF_INET, datagram, ("127.0.0.1", 0))
        monkeypatch.chdir(root)  # the path of a socket is short
        server(socket.AF_UNIX, stream, "socket")
        server(socket.AF_UNIX, datagram, "datagram")
        server(socket.AF_UNIX, stream, "\0" + abstract)
        yield {
            "home": str(root / "home"),
            "outside": str(root / "outside"),
            "store": str(root / "blobs"),
            "blob": str(root / "blobs" / "other"),
            "input": str(root / "outside" / "other.txt"),
            "linked": str(root / "outside" / "other.txt"),
            "work": str(root / "outside"),
            "output": str(root / "outside" / "other.txt"),
            "pycache": str(root / "pycache"),
            "parent": os.getpid(),
            "tcp": tcp.getsockname()[1],
            "udp": udp.getsockname()[1],
            "unix": str(root / "socket"),
            "datagram": str(root / "datagram"),
            "abstract": abstract,
        }


def _program(places: dict[str, object], names: tuple[str, ...]) -> str:
    given = f"PLACES = {json.dumps(places)!r}\nNAMES = {json.dumps(names)!r}\n"
    return Path(hostile_step.__file__).read_text(encoding="utf-8") + given + PAYLOAD


def _poison(checkpoint: Path, target: Path, program: str) -> None:
    """Write the same network with a pickle that first runs a program."""
    text = program.encode()
    call = b"cbuiltins\nexec\n" + b"X" + len(text).to_bytes(4, "little") + text
    call += b"}X\x08\x00\x00\x00__name__X\x07\x00\x00\x00payloads\x86R0"
    with zipfile.ZipFile(checkpoint) as source, zipfile.ZipFile(target, "w") as archive:
        for info in source.infolist():
            content = source.read(info)
            if info.filename.endswith("/data.pkl"):
                content = content[:2] + call + content[2:]
            archive.writestr(info.filename, content)


def _workspace(root: Path, program: str) -> Path:
    place = make_workspace(root)
    _poison(place / "start.pt", place / "evil.pt", program)
    digest = hashlib.sha256((place / "evil.pt").read_bytes()).hexdigest()
    (place / "recipes" / "evil.yaml").write_text(RECIPE.replace("SHA", digest))
    return place


def _attack(place: Path) -> dict[str, str]:
    """The payload's report from the export step, which succeeds."""
    session = Session(place)
    plan = session.plans["evil@triton-onnx"]
    assert isinstance(plan, BuildPlan)
    (step,) = [step for step in plan.steps if step.stage == "export"]
    runner = session.executor.runner
    assert runner.execute(step, lambda: None, lambda *_: None) is not None
    key = session.state.key(step)
    assert key is not None
    log = runner.log(key.key).read_text()
    session.close()
    (line,) = [line for line in log.splitlines() if line.startswith("PAYLOAD ")]
    found: dict[str, str] = json.loads(line.removeprefix("PAYLOAD "))
    return found


@pytest.mark.parametrize("mechanism", [Mechanism.BUBBLEWRAP, Mechanism.LANDLOCK])
def test_a_trusted_payload_gets_nowhere(
    tmp_path: Path,
    places: dict[str, object],
    mechanism: Mechanism,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Refused without `trust: code`; with it each attack fails, and the network is exported."""
    monkeypatch.setenv(isolation.VARIABLE, mechanism)
    try:
        isolation.choose()
    except IsolationUnavailable as error:
        pytest.skip(str(error))
    names = (*READING, *WRITING, *SENDING)
    place = _workspace(tmp_path / "place", _program(places, names))
    assert main(["-C", str(place), "check"]) == 2
    assert "evil.pt runs code when it is loaded, beyond what checkpoints hold: builtins.exec" in (
        capsys.readouterr().out
    )
    recipe = place / "recipes" / "evil.yaml"
    recipe.write_text(recipe.read_text().replace("task:", "trust: code, task:"))
    found = _attack(place)
    print(mechanism, *found.items(), sep="\n  ")
    assert found.keys() == set(names)
    assert [name for name, error in found.items() if not error] == []
    around = tmp_path / "around"
    assert (around / "outside" / "other.txt").read_text() == "other"
    assert [path.name for path in (around / "outside").iterdir()] == ["other.txt"]


def test_the_attempts_are_real(
    tmp_path: Path, places: dict[str, object], capfd: pytest.CaptureFixture[str]
) -> None:
    """Without isolation the attacks succeed, so the test is effective."""
    names = (
        *("list the home", "read the home", "write outside", "write into the bytecode"),
        *("TCP to this machine", "UDP", "a Unix socket", "an abstract socket"),
    )
    exec(_program(places, names), {"__name__": "payload"})
    (line,) = [x for x in capfd.readouterr().out.splitlines() if x.startswith("PAYLOAD ")]
    assert json.loads(line.removeprefix("PAYLOAD ")) == dict.fromkeys(names, "")
