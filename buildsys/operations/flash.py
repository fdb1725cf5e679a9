"""Flashes shipped models onto a board: checks what goes where; the vendor's tool does the sending.

Only models are sent, never a firmware; only the flash that a model covers is erased.
"""

import json
import os
import subprocess
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from buildsys import typed_json
from buildsys.digest import digest_file
from buildsys.errors import BuildsysError, InputError, Waiting
from buildsys.execution import children
from buildsys.execution.session.session import Session
from buildsys.execution.tools import definitions
from buildsys.files import read_regular
from buildsys.graph import BuildPlan, Plan, Step, WaitingPlan
from buildsys.operations.predict import check_built
from buildsys.operations.verify import shipped_plan
from buildsys.records import Digest, RelativeName, Size
from buildsys.steps.lib.packages import send_xmodem
from buildsys.steps.lib.packages.flash import Region, overlaps
from buildsys.steps.lib.packages.flash_files import PLAN

TOOL_ENV = "flash"
_CONNECT_ATTEMPTS = "7"
"""esptool's own default, stated because zero would mean forever."""
_LIST_PORTS = (
    "import json; from serial.tools.list_ports import comports;"
    " print(json.dumps([[p.device, p.description, p.vid is not None] for p in comports()]))"
)

Send = Callable[[Sequence[str], Path], int]
"""Runs the vendor's tool in a folder, passing its output through; returns its exit code."""


def has_plan(steps: Iterable[Step]) -> bool:
    """Return whether any of the steps packages a model with a plan for flashing it."""
    return any(json.loads(step.params).get("flash") for step in steps)


@dataclass(frozen=True, kw_only=True)
class Flashing:
    """One build's model to flash: the content of flash.json, checked against the file."""

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
    """Addresses in text form, "0x00400000"."""

    file: RelativeName
    address: str
    size: Size
    end: str
    alignment: Size
    sha256: Digest

    @property
    def region(self) -> Region:
        """Return the region. Raises ValueError for an invalid address."""
        address, end = int(self.address, 16), int(self.end, 16)
        return Region(**(vars(self) | {"address": address, "end": end}))


@dataclass(frozen=True, kw_only=True)
class _PlanFile:
    """The content of flash.json, which steps.lib.packages.flash_files writes."""

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
    """A serial port and the system's description; `usb`: it is not built into the computer."""

    device: str
    description: str
    usb: bool


def read_flashing(session: Session, asked: Plan) -> Flashing:
    """Return what a published build has for its board.

    Raises BuildsysError, InputError, Waiting.
    """
    if isinstance(asked, WaitingPlan):
        raise Waiting(f"{asked.build} waits for {asked.waiting_for}: there is no file to flash yet")
    plan = shipped_plan(session, asked)
    check_built(session, plan)
    folder = session.workspace.package(plan.build)
    path = folder / PLAN
    if not os.path.isfile(path):
        raise InputError.at(plan.build, *_why_no_plan(session, plan))
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


def _why_no_plan(session: Session, plan: BuildPlan) -> tuple[str, str]:
    """Return why a package has no flash plan, and what to do instead."""
    place = session.workspace.package(plan.build).relative_to(session.workspace.root)
    if not any(step.module == "package_flash" for step in plan.steps):
        message = f"it has no flash plan: its target {plan.target} is not flashed"
        return message, f"copy {place.as_posix()} to a computer that runs it"
    message = f"it has no flash plan: no firmware contract gives {plan.target} a place in flash"
    return message, (
        "with a decoder of your own, build the .tflite file into your own firmware, or write a contract with"
        f" `slot` for it, for a target with `flash`; `buildsys check` names what {plan.target}'s firmware"
        " does not decode"
    )


def check_together(flashings: Sequence[Flashing]) -> None:
    """Raise InputError unless the models can share one board side by side."""
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
    """Return the vendor's tool with its arguments, to be run in the build's folder."""
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
    """Return the path of the tool environment's Python, synced or not."""
    env = definitions.tool_env(TOOL_ENV)
    found = definitions.find_synced(env)
    return found[1] if found else definitions.folder(env, env.variants[0]) / "bin" / "python"


def find_ports(python: Path) -> tuple[Port, ...]:
    """Return the serial ports of this machine, as pyserial finds them."""
    done = subprocess.run(
        [str(python), "-P", "-s", "-c", _LIST_PORTS], capture_output=True, text=True, check=True
    )
    return tuple(
        Port(device=device, description=text, usb=usb)
        for device, text, usb in json.loads(done.stdout)
    )


def choose_port(ports: Sequence[Port]) -> str:
    """Return the only port that a board may be at. Raises InputError with the list.

    A port that is built into the computer is never chosen: no board is there.
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
    """Run the tool with our output streams; the default of `Send`."""
    environment = {name: text for name, text in os.environ.items() if not name.startswith("PYTHON")}
    with children.child(arguments, environment, cwd=folder) as process:
        return children.wait(process)


def place_text(region: Region) -> str:
    """Return the range from the first byte to the first that is not touched."""
    return f"0x{region.address:08x}..0x{region.end:08x}"
