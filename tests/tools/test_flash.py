"""The vendors' tools with a simulated board: every byte, and every failure."""

import subprocess
from pathlib import Path

import pytest

from buildsys.cli import main
from buildsys.execution.tools import environments
from buildsys.operations.flash import find_ports
from buildsys.steps.lib.packages import send_xmodem
from tests.conftest import Build, StandIn
from tests.flash_peer import PACKET, Fault, Peer
from tests.operations.flash_stand_in import MODEL_BYTES, FlashStandIn, make_model

pytestmark = pytest.mark.tools

GROVE, XIAO = "tags@grove-vision-ai-v2", "tags@xiao-esp32s3"
SLOT = 0x400000
PATIENCE = "3"
"""Timeout in seconds for the tests; 60 for users, who must find the reset button."""


@pytest.fixture
def tools() -> StandIn:
    """Stand-in tools that make packages with a flash plan and models of a useful size."""
    return FlashStandIn()


def flash(workspace: Path, build: str, port: str) -> int:
    """Run `buildsys flash`."""
    return main(["-C", str(workspace), "flash", build, "--port", port])


def send(peer: Peer, path: Path, position: str = hex(SLOT)) -> subprocess.CompletedProcess[str]:
    """Run the command of `buildsys flash` with a shorter timeout."""
    path.write_bytes(make_model("model"))
    _, python = environments.ensure("flash", print)
    return subprocess.run(
        [
            python,
            "-P",
            "-s",
            send_xmodem.__file__,
            peer.port,
            path,
            position,
            "--patience",
            PATIENCE,
        ],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_every_byte_arrives_where_the_firmware_looks(workspace: Path, build: Build) -> None:
    """Exactly the preamble, the model with XMODEM padding, and the start are sent."""
    build()
    with Peer() as board:
        assert flash(workspace, GROVE, board.port) == 0
    model = make_model("sscma-1.0-pose")
    padding = b"\x1a" * (-MODEL_BYTES % PACKET)
    assert board.found.faults == []
    assert board.found.models == {SLOT: model + padding}
    assert board.found.preambles == [bytes.fromhex("c05a00004000000000005ac0") + b"\xff" * 116]
    assert board.found.firmware == []
    assert board.found.restarted


def test_a_packet_that_was_refused_is_sent_again(tmp_path: Path) -> None:
    """A disturbed packet is sent again."""
    path = tmp_path / "model.tflite"
    with Peer(Fault(kind="nak", packet=3)) as board:
        done = send(board, path)
    assert done.returncode == 0
    assert board.found.resent == 1
    assert board.found.models[SLOT][:MODEL_BYTES] == path.read_bytes()


def test_a_board_that_cancels_ends_it_with_its_reason(
    workspace: Path, build: Build, capfd: pytest.CaptureFixture[str]
) -> None:
    """A transfer that the board cancels fails with one message."""
    build()
    with Peer(Fault(kind="cancel", packet=5)) as board:
        assert flash(workspace, GROVE, board.port) == 1
    captured = capfd.readouterr()
    assert "error: the board cancelled the transfer" in captured.err
    assert f"{GROVE} was not flashed" in captured.err
    assert "is on the board" not in captured.out
    assert board.found.models == {}
    assert not board.found.restarted


def test_a_board_that_falls_silent_is_given_up(tmp_path: Path) -> None:
    """A board that stops answering fails within a limited time."""
    with Peer(Fault(kind="silence", packet=5)) as board:
        done = send(board, tmp_path / "model.tflite")
    assert done.returncode == 1
    assert f"error: the board has not answered for {PATIENCE} s" in done.stderr
    assert board.found.models == {}


def test_a_board_that_never_answers_is_reported_in_the_vendors_words(tmp_path: Path) -> None:
    """A board that never answers is reported in the vendor's words."""
    with Peer(deaf=True) as board:
        done = send(board, tmp_path / "model.tflite")
    assert done.returncode == 1
    assert "error: Timeout waiting for burn mode" in done.stderr
    assert board.found.preambles == []


def test_a_model_never_takes_the_place_of_the_firmware(tmp_path: Path) -> None:
    """The address is always passed, since the vendor's tool would write to address 0."""
    with Peer() as board:
        done = send(board, tmp_path / "model.tflite", "0x0")
    assert done.returncode == 2
    assert board.found.firmware == []


def test_a_port_that_is_not_there_is_a_failure(
    workspace: Path, build: Build, capfd: pytest.CaptureFixture[str]
) -> None:
    """A port that does not exist is an error."""
    build()
    assert flash(workspace, GROVE, "/dev/absent") == 1
    assert "could not open port /dev/absent" in capfd.readouterr().err


def test_esptool_goes_as_far_as_the_chip_has_to_answer(
    workspace: Path, build: Build, capfd: pytest.CaptureFixture[str]
) -> None:
    """After a limited number of attempts the tool's message and our exit code are returned."""
    build()
    with Peer(deaf=True) as board:
        assert flash(workspace, XIAO, board.port) == 1
    captured = capfd.readouterr()
    assert "Failed to connect to ESP32-S3" in captured.out + captured.err
    assert f"{XIAO} was not flashed" in captured.err


def test_ports_are_those_of_pyserial() -> None:
    """Each serial port of this machine has a name and a description."""
    _, python = environments.ensure("flash", print)
    assert all(port.device and port.description for port in find_ports(python))
