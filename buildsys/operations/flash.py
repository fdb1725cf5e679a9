"""Shipped models onto a board: what goes where is checked here, sending is the vendor's tool's work.

Sent are models alone: never a firmware, never an erase of anything but what a model covers.
"""

import json
import os
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from buildsys import typed_json
from buildsys.digest import digest_file
from buildsys.errors import BuildsysError, InputError, Waiting
from buildsys.execution import children
from buildsys.execution.packages.publish import build_folder
from buildsys.execution.session.session import Session
from buildsys.execution.tools import definitions
from buildsys.files import read_regular
from buildsys.graph import Plan, WaitingPlan
from buildsys.operations.predict import check_built
from buildsys.operations.verify import shipped_plan
from buildsys.records import Digest, RelativeName, Size
from buildsys.steps.lib.packages import send_xmodem
from buildsys.steps.lib.packages.flash import PLAN, Region, overlaps

TOOL_ENV = "flash"
_CONNECT_ATTEMPTS = "7"
"""esptool's own default, written out: zero would mean for ever."""
_LIST_PORTS = (
    "import json; from serial.tools.list_ports import comports;"
    " print(json.dumps([[p.device, p.description, p.vid is not None] for p in comports()]))"
)

Send = Callable[[Sequence[str], Path], int]
"""Runs the vendor's tool in a folder, its output passed through; returns its exit code."""


@dataclass(frozen=True, kw_only=True)
class Flashing:
    """One build's model on its way: what flash.json says of it, checked against the file."""

    build: str
    target: str
    firmware: str
    method: str
    chip: str
    baud: int
    folder: Path
    region: Region
    unverified: tuple[str, ...]
    """Unverified notes of a firmware contract."""
    labels: bool
    """Whether the firmware has a command that sets the labels."""


@dataclass(frozen=True, kw_only=True)
class _Region:
    """Addresses as they are written, "0x00400000"."""

    file: RelativeName
    address: str
    size: Size
    end: str
    alignment: Size
    sha256: Digest

    @property
    def region(self) -> Region:
        """Raises ValueError for an address that is none."""
        address, end = int(self.address, 16), int(self.end, 16)
        return Region(**(vars(self) | {"address": address, "end": end}))


@dataclass(frozen=True, kw_only=True)
class _PlanFile:
    """flash.json, see steps.lib.packages.flash, which writes it."""

    target: str
    firmware: str
    app: str
    verified: bool
    notes: tuple[str, ...]
    method: str
    chip: str
    baud: Size
    regions: tuple[_Region, ...]
    preamble: str | None
    commands: dict[str, object]
    info: dict[str, object] | None


@dataclass(frozen=True, kw_only=True)
class Port:
    """A serial port, and what the system says of it. `usb`: not one that the computer came with."""

    device: str
    description: str
    usb: bool


def read_flashing(session: Session, asked: Plan) -> Flashing:
    """What a published build has for its board. Raises BuildsysError, InputError, Waiting."""
    if isinstance(asked, WaitingPlan):
        raise Waiting(f"{asked.build} waits for {asked.waiting_for}: there is no file to flash yet")
    plan = shipped_plan(session, asked)
    check_built(session, plan)
    folder = build_folder(session.workspace, plan.build)
    path = folder / PLAN
    if not os.path.isfile(path):
        message = f"no flash plan: its target {plan.target} or its firmware does not define a place in flash"
        place = folder.relative_to(session.workspace.root).as_posix()
        hint = f"copy {place} to a computer that runs it; for a board that is flashed, add `flash` to its target and `slot` to the firmware contract"
        raise InputError.at(plan.build, message, hint)
    try:
        found = typed_json.parse(_PlanFile, read_regular(path))
        (row,) = found.regions
        region = row.region
    except (OSError, ValueError) as error:
        message = f"{plan.build}: {PLAN} is damaged; run `doit build:{plan.build}` again"
        raise BuildsysError(message) from error
    if (
        not os.path.isfile(folder / region.file)
        or digest_file(folder / region.file) != region.sha256
    ):
        message = f"{plan.build}: {region.file} is not the file that {PLAN} names"
        raise BuildsysError(f"{message}; run `doit build:{plan.build}` again")
    return Flashing(
        build=plan.build,
        target=found.target,
        firmware=found.firmware,
        method=found.method,
        chip=found.chip,
        baud=found.baud,
        folder=folder,
        region=region,
        unverified=() if found.verified else found.notes,
        labels=found.info is not None,
    )


def check_together(flashings: Sequence[Flashing]) -> None:
    """Several models share one board only side by side. Raises InputError."""
    first = flashings[0]
    other = next((each for each in flashings if each.target != first.target), None)
    if other is not None:
        message = f"is for {other.target}, and {first.build} for {first.target}"
        hint = "flash one board at a time"
        raise InputError.at(other.build, message, hint)
    builds = {id(each.region): each.build for each in flashings}
    pairs = overlaps(tuple(each.region for each in flashings))
    if pairs:
        one, two = ((builds[id(region)], place_text(region)) for region in pairs[0])
        message = f"covers {two[1]} of the flash, and {one[0]} covers {one[1]}"
        hint = "flash one of them, or give one a firmware contract with another `slot`"
        raise InputError.at(two[0], message, hint)


def command(flashing: Flashing, python: Path, port: str) -> tuple[str, ...]:
    """The vendor's tool with everything it needs; run in the build's folder."""
    region = flashing.region
    clean, place, baud = (str(python), "-P", "-s"), f"0x{region.address:08x}", str(flashing.baud)
    if flashing.method == "esptool":
        return (
            *clean,
            "-m",
            "esptool",
            "--chip",
            flashing.chip or "auto",
            "--port",
            port,
            "--baud",
            baud,
            "--connect-attempts",
            _CONNECT_ATTEMPTS,
            "write-flash",
            place,
            region.file,
        )
    return (*clean, str(send_xmodem.__file__), port, region.file, place, "--baud", baud)


def interpreter() -> Path:
    """Where the tool environment's Python is, or will be once it is synced."""
    env = definitions.tool_env(TOOL_ENV)
    found = definitions.find_synced(env)
    return found[1] if found else definitions.folder(env, env.variants[0]) / "bin" / "python"


def find_ports(python: Path) -> tuple[Port, ...]:
    """Serial ports of this machine, as pyserial finds them."""
    done = subprocess.run(
        [str(python), "-P", "-s", "-c", _LIST_PORTS], capture_output=True, text=True, check=True
    )
    return tuple(
        Port(device=device, description=text, usb=usb)
        for device, text, usb in json.loads(done.stdout)
    )


def choose_port(ports: Sequence[Port]) -> str:
    """The only one that a board may be at. Raises InputError with the list.

    Nothing is sent by itself to a port that the computer came with: what is there is no board.
    """
    boards = [port for port in ports if port.usb]
    if len(boards) == 1:
        return boards[0].device
    message, hint = "no serial port was found", "connect the board, or name a port"
    if ports:
        message = "no USB port was found: connect the board, or name its port"
        if boards:
            message = f"{len(boards)} serial ports were found: name the board's port"
        hint = "; ".join(f"{port.device} ({port.description})" for port in boards or ports)
    raise InputError.at("--port", message, hint)


def run_tool(arguments: Sequence[str], folder: Path) -> int:
    """The default of `Send`: what the tool prints goes where ours goes."""
    environment = {name: text for name, text in os.environ.items() if not name.startswith("PYTHON")}
    with children.child(arguments, environment, cwd=folder) as process:
        return children.wait(process)


def place_text(region: Region) -> str:
    """From the first byte to the first that is not touched."""
    return f"0x{region.address:08x}..0x{region.end:08x}"
