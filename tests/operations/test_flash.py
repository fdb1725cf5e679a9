"""`buildsys flash` up to the vendor's tool: what it sends and what it refuses."""

import argparse
import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest

from buildsys.cli import main
from buildsys.commands import flash as command
from buildsys.execution.tools import environments
from buildsys.operations import flash as flashing
from buildsys.operations.flash import Port
from tests.conftest import (
    Build,
    Sample,
    StandIn,
    build_sample,
    make_workspace,
    no_environment,
)
from tests.operations import golden
from tests.operations.flash_stand_in import FlashStandIn

GROVE, XIAO = "tags@grove-vision-ai-v2", "tags@xiao-esp32s3"
TWO_FOR_ONE_BOARD = "targets: [grove-vision-ai-v2, {target: grove-vision-ai-v2, as: second}]\n"
OWN_SLOT = """\
name: mine
label: my firmware
task: pose
head: raw
slot: {address: 0x700000, size: 0x100000, lowest: 0x200000}
source: its source
verified: false
notes: [nobody has run it]
"""
Capture = pytest.CaptureFixture[str]


class Sent:
    """A stand-in for the vendor's tool: records its arguments, returns a given code."""

    def __init__(self, code: int = 0) -> None:
        self.code = code
        self.commands: list[tuple[str, ...]] = []
        self.folders: list[Path] = []

    def __call__(self, arguments: Sequence[str], folder: Path) -> int:
        self.commands.append(tuple(arguments))
        self.folders.append(folder)
        return self.code


@pytest.fixture
def tools() -> StandIn:
    """Stand-in tools that make packages with a flash plan."""
    return FlashStandIn()


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Sample:
    """A built workspace with flash plans in its packages."""
    return build_sample(tmp_path_factory.mktemp("flash"), make_workspace, FlashStandIn())


@pytest.fixture(autouse=True)
def _no_tools(monkeypatch: pytest.MonkeyPatch) -> None:
    """No environment is synced, and the machine has one serial port."""
    monkeypatch.setattr(environments, "ensure", no_environment)
    _ports(monkeypatch, "/dev/ttyACM0")


def _ports(monkeypatch: pytest.MonkeyPatch, *devices: str) -> None:
    found = tuple(
        Port(
            device=device,
            description="USB Serial" if "ttyS" not in device else "ttyS0",
            usb="ttyS" not in device,
        )
        for device in devices
    )
    monkeypatch.setattr(flashing, "find_ports", lambda python: found)


def run_flash(workspace: Path, sent: Sent, *arguments: str) -> int:
    """Run `buildsys flash` with a stand-in for the vendor's tool."""
    parser = argparse.ArgumentParser()
    command.arguments(parser)
    options = parser.parse_args(arguments)
    options.folder = workspace
    return command.run(options, sent)


def _targets(workspace: Path, text: str) -> None:
    recipe = workspace / "recipes" / "tags.yaml"
    recipe.write_text(recipe.read_text().split("targets:")[0] + text)


@pytest.mark.usefixtures("built")
def test_a_dry_run_shows_regions_and_the_exact_command(workspace: Path, capsys: Capture) -> None:
    """A dry run syncs and sends nothing; its printed command does the same when run by hand."""
    capsys.readouterr()
    assert main(["-C", str(workspace), "flash", GROVE, "--dry-run"]) == 0
    package = Path(flashing.__file__).parent.parent
    places = (workspace, flashing.interpreter(), package)
    golden.check("flash-dry-run", capsys.readouterr().out, *places)
    arguments = ("-C", str(workspace), "flash", XIAO, "--dry-run", "--port", "/dev/ttyACM7")
    assert main(list(arguments)) == 0
    golden.check("flash-dry-run-esptool", capsys.readouterr().out, *places)


@pytest.mark.usefixtures("built")
def test_a_model_is_sent_from_its_folder_to_the_only_port(workspace: Path, capsys: Capture) -> None:
    """Exactly one file is sent, to one address."""
    sent = Sent()
    assert run_flash(workspace, sent, GROVE) == 0
    assert sent.folders == [workspace / "build/tags/grove-vision-ai-v2"]
    (command,) = sent.commands
    assert command[4:] == ("/dev/ttyACM0", "tags.tflite", "0x00400000", "--baud", "921600")
    assert "is on the board" in capsys.readouterr().out
    assert run_flash(workspace, sent, XIAO, "--port", "/dev/ttyACM7") == 0
    assert sent.commands[1][3:] == (
        "-m",
        "esptool",
        "--chip",
        "esp32s3",
        "--port",
        "/dev/ttyACM7",
        "--baud",
        "115200",
        "--connect-attempts",
        "7",
        "write-flash",
        "0x00400000",
        "tags.tflite",
    )


@pytest.mark.usefixtures("built")
def test_a_failed_tool_is_a_failure(workspace: Path, capsys: Capture) -> None:
    """If the tool fails, the exit code is 1 and later builds are not sent."""
    sent = Sent(code=2)
    assert run_flash(workspace, sent, GROVE) == 1
    assert len(sent.commands) == 1
    captured = capsys.readouterr()
    assert f"{GROVE} was not flashed" in captured.err
    assert "is on the board" not in captured.out


def test_only_what_the_recipe_says_now_is_sent(
    workspace: Path, build: Build, capsys: Capture
) -> None:
    """A package that is not built, out of date or edited is not sent."""
    sent = ["-C", str(workspace), "flash", XIAO]
    assert main(sent) == 1
    assert f"run `doit build:{XIAO}` first" in capsys.readouterr().err
    build()
    (workspace / "build/tags/xiao-esp32s3/tags.tflite").write_bytes(b"another TFL3 file")
    capsys.readouterr()
    assert main(sent) == 1
    assert f"run `doit build:{XIAO}` first" in capsys.readouterr().err
    build()
    recipe = workspace / "recipes" / "tags.yaml"
    recipe.write_text(recipe.read_text().replace("epochs: 2", "epochs: 3"))
    assert main(sent) == 1


@pytest.mark.usefixtures("built")
def test_a_file_that_the_plan_does_not_mean_is_not_sent(workspace: Path, capsys: Capture) -> None:
    """A file that differs from the published one is not sent, even after the store was cleared."""
    (workspace / "build/tags/xiao-esp32s3/tags.tflite").write_bytes(b"another TFL3 file")
    shutil.rmtree(workspace.parent / "store")
    capsys.readouterr()
    sent = Sent()
    with pytest.raises(Exception, match="is not up to date; run `doit build"):
        run_flash(workspace, sent, XIAO)
    assert sent.commands == []


@pytest.mark.usefixtures("built")
def test_notes_of_an_unverified_firmware_come_first(workspace: Path, capsys: Capture) -> None:
    """The notes about unverified firmware are printed before sending."""
    capsys.readouterr()
    assert run_flash(workspace, Sent(), XIAO) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("firmware sscma-1.0-esp32s3-pose, not verified: ")
    assert run_flash(workspace, Sent(), GROVE) == 0
    assert "not verified" not in capsys.readouterr().out


@pytest.mark.usefixtures("built")
def test_models_share_a_board_side_by_side_only(
    workspace: Path, build: Build, capsys: Capture
) -> None:
    """Two models for one address are refused; with different addresses both are sent in order."""
    _targets(workspace, TWO_FOR_ONE_BOARD)
    build()
    capsys.readouterr()
    assert main(["-C", str(workspace), "flash", GROVE, "tags@second", "--dry-run"]) == 2
    golden.check("flash-overlap", capsys.readouterr().err)
    (workspace / "targets" / "firmware").mkdir(parents=True)
    (workspace / "targets" / "firmware" / "mine.yaml").write_text(OWN_SLOT)
    _targets(workspace, TWO_FOR_ONE_BOARD.replace("as: second", "as: second, firmware: mine"))
    build()
    sent = Sent()
    assert run_flash(workspace, sent, GROVE, "tags@second") == 0
    assert [command[6] for command in sent.commands] == ["0x00400000", "0x00700000"]


@pytest.mark.usefixtures("built")
@pytest.mark.parametrize(
    ("name", "arguments", "devices"),
    [
        ("two-boards", (GROVE, XIAO), ("/dev/ttyACM0",)),
        ("unknown", ("tags@grove",), ("/dev/ttyACM0",)),
        ("no-port", (GROVE,), ()),
        ("two-ports", (GROVE,), ("/dev/ttyS0", "/dev/ttyACM0", "/dev/ttyUSB0")),
        ("own-port", (GROVE,), ("/dev/ttyS0",)),
        ("mistake", ("zz",), ("/dev/ttyACM0",)),
    ],
)
def test_wrong_arguments_send_nothing(
    name: str,
    arguments: tuple[str, ...],
    devices: tuple[str, ...],
    workspace: Path,
    capsys: Capture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Wrong arguments give exit code 2 and one message, and send nothing."""
    _ports(monkeypatch, *devices)
    (workspace / "recipes" / "zz.yaml").write_text("name: zz\nsurce: 1\n")
    capsys.readouterr()
    assert main(["-C", str(workspace), "flash", *arguments]) == 2
    golden.check(f"flash-{name}", capsys.readouterr().err)


@pytest.mark.usefixtures("built")
def test_a_target_without_a_place_says_what_is_missing(
    workspace: Path, build: Build, capsys: Capture
) -> None:
    """For a target without a flash address, the message says so."""
    _targets(workspace, "targets: [host]\n")
    build()
    capsys.readouterr()
    assert main(["-C", str(workspace), "flash", "tags@host"]) == 2
    golden.check("flash-no-plan", capsys.readouterr().err)


@pytest.mark.usefixtures("built")
def test_a_network_without_a_contract_says_that_no_firmware_has_a_place_for_it(
    workspace: Path, build: Build, capsys: Capture
) -> None:
    """For a board without a firmware contract, the reason is the contract, not the board."""
    _targets(workspace, "firmware: unchecked\ntargets: [grove-vision-ai-v2]\n")
    build()
    capsys.readouterr()
    assert main(["-C", str(workspace), "flash", GROVE, "--dry-run"]) == 2
    golden.check("flash-no-contract", capsys.readouterr().err)


def test_a_rejected_build_is_not_sent(workspace: Path, build: Build, capsys: Capture) -> None:
    """A rejected build is not sent; the exit code is that of a red gate."""
    recipe = workspace / "recipes" / "tags.yaml"
    recipe.write_text(recipe.read_text().replace("min: 0.1", "min: 0.9"))
    build()
    assert main(["-C", str(workspace), "flash", GROVE]) == 11
