"""buildsys flash: send shipped models to a board with the vendor's tool."""

import argparse
import os
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from buildsys.operations.flash import Flashing, Send

_INTERRUPTED = b"\nthe board may hold half a model: flash it again before you use it\n"


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments: which builds, and the serial port."""
    parser.add_argument("builds", nargs="+", metavar="BUILD", help="builds for one board")
    parser.add_argument("--port", help="the serial port; default: the only one of this machine")
    parser.add_argument("--dry-run", action="store_true", help="only print what would be sent")


def run(options: argparse.Namespace, send: "Send | None" = None) -> int:
    """Exit codes: 0 every model was sent, 1 the tool failed, 2 these builds cannot be flashed
    together.
    """
    from buildsys.execution import signals
    from buildsys.execution.tools.environments import ensure
    from buildsys.operations import flash

    chosen = _read(options)
    flash.check_together(chosen)
    _announce(chosen)
    if options.dry_run:
        return _print_commands(chosen, flash.interpreter(), options.port or "PORT")
    signals.end_on_signals(lambda: None)
    _, python = ensure(flash.TOOL_ENV, lambda text: print(text, file=sys.stderr))
    port = options.port or flash.choose_port(flash.find_ports(python))
    signals.end_on_signals(_print_interrupted)
    for flashing in chosen:
        if not _send(flashing, python, port, send or flash.run_tool):
            return 1
    return 0


def _print_interrupted() -> None:
    os.write(2, _INTERRUPTED)


def _read(options: argparse.Namespace) -> "list[Flashing]":
    """What to send, after checking that it matches the recipes."""
    from buildsys.execution.session.session import Session
    from buildsys.execution.session.workspace_lock import exclusive
    from buildsys.operations.flash import read_flashing

    session = Session(options.folder.resolve())
    try:
        plans = [session.plans[build] for build in session.loaded.select(options.builds)]
        with exclusive(session.workspace):
            return [read_flashing(session, plan) for plan in plans]
    finally:
        session.close()


def _announce(chosen: "list[Flashing]") -> None:
    """Print unverified facts of the firmware first."""
    from buildsys.operations.flash import place_text

    for firmware, notes in {each.firmware: each.unverified for each in chosen}.items():
        for note in notes:
            print(f"firmware {firmware}, not verified: {note}")
    for each in chosen:
        region = each.region
        print(
            f"{each.build}, for firmware {each.firmware}:\n  {place_text(region)}  {region.file}"
            f"  {region.size} bytes  sha256 {region.sha256}"
        )


def _print_commands(chosen: "list[Flashing]", python: "Path", port: str) -> int:
    from buildsys.execution.running.process import quote
    from buildsys.operations.flash import command

    for each in chosen:
        print(f"would run in {each.folder}:\n  {quote(command(each, python, port))}")
    return 0


def _send(flashing: "Flashing", python: "Path", port: str, send: "Send") -> bool:
    from buildsys.operations.flash import command

    hint = "; press the board's reset button now" if flashing.method == "xmodem" else ""
    print(f"sending {flashing.region.file} to {port}{hint}", flush=True)
    code = send(command(flashing, python, port), flashing.folder)
    if code:
        print(
            f"{flashing.build} was not flashed: the vendor's tool ended with exit code {code};"
            " its output is above",
            file=sys.stderr,
        )
        return False
    print(f"{flashing.build} is on the board, as its boot loader reports")
    if flashing.labels:
        print("its labels: the line AT+INFO in README.md beside the file")
    return True
