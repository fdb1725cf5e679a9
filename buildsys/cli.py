"""Declarative builds of vision models for edge hardware.

Exit codes: 0 done, 1 failed, 2 wrong input, 10 waiting, 11 rejected, 12 differs from buildsys.lock.
"""

import argparse
import importlib
import keyword
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from buildsys import __version__
from buildsys.errors import BuildsysError, InputError, annotations
from buildsys.printing import Printed, guard
from buildsys.write_errors import FOLDER_GONE, is_folder_gone

COMMANDS = {
    "build": "build everything that is stale",
    "init": "make a workspace in a folder: dodo.py, doit.cfg, a first recipe, schemas",
    "new": "write a commented recipe from a model file or data",
    "targets": "list the boards and devices that recipes can name",
    "check": "report the errors in all recipes without building",
    "plan": "show which steps would run, and why",
    "update": "record this machine's results in buildsys.lock; trainings with other tools or code run again",
    "verify": "build again without stored results and compare with the package",
    "compare": "time the files of several builds side by side",
    "pin": "write missing sha256 digests into recipes",
    "predict": "draw what the shipped file detects in images",
    "flash": "send packaged models to a board with the vendor's tool",
    "fit": "find the largest input size that fits into the target's memory",
    "bundle": "write a folder from which another machine builds an engine",
    "import": "import the result of a bundle",
    "import-benchmark": "record the latency of a file as measured on a device",
    "report": "write the report about every build and its evidence, without building",
    "schema": "write JSON Schemas for editors",
    "doctor": "report what is installed, what can be downloaded, and what is missing",
    "sync": "download what builds need, ahead of time",
    "gc": "remove unused files from the store, by size and age",
    "store": "carry results to another machine: export, import, push, pull",
    "remote": "the store that a team shares: check, gc, keygen",
    "scheduler": "run the scheduler of a cluster, which workers and runs connect to",
    "worker": "run steps for a cluster on this machine",
}
"""The commands in the order of the help.

A command is a module of buildsys.commands, with underscores for hyphens (`import` is import_). Only
the module of the requested command is imported.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point; prints an error as a sentence, and logs the traceback of an unexpected one."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    out, err = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = guarded, _ = guard(out), guard(err)
    try:
        # doit's threads may leave another stream in sys.stdout
        return _run(words) or _lost(guarded)
    finally:
        sys.stdout, sys.stderr = out, err


def _run(words: list[str]) -> int:
    root: Path | None = None
    try:
        parser = _parser(words)
    except Exception as error:  # noqa: BLE001
        return _unexpected(error, words, root)
    options = parser.parse_args(words)
    try:
        root = options.folder.resolve()
        if not os.path.isdir(options.folder) and _command(words) != "init":
            message = "is not a directory: there is no workspace to work in"
            raise InputError.at(str(options.folder), message)
        return int(options.run(options))
    except BuildsysError as error:
        print(error, file=sys.stderr)
        if getattr(options, "format", "") == "github":
            for line in annotations(error):
                guard(sys.stdout).command(line)
        return error.exit_code
    except KeyboardInterrupt:
        print("\ninterrupted", file=sys.stderr)
        return 128 + signal.SIGINT
    except (Exception, SystemExit) as error:  # noqa: BLE001 (a library may ask to exit)
        if is_folder_gone(error):
            print(FOLDER_GONE, file=sys.stderr)
            return 1
        return _unexpected(error, words, root)


def _unexpected(error: BaseException, words: list[str], root: Path | None) -> int:
    from buildsys.execution.unexpected import explain

    print(explain(error, f"`buildsys {_command(words)}` ran", root), file=sys.stderr)
    return 1


def _lost(out: Printed) -> int:
    """Return exit code 1 if part of the output could not be written."""
    out.flush()
    if out.complaint():
        print(out.complaint(), file=sys.stderr)
    return int(out.lost is not None)


def _parser(words: list[str]) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="buildsys", description=__doc__)
    parser.add_argument("--version", action="version", version=f"buildsys {__version__}")
    parser.add_argument(
        "-C",
        dest="folder",
        type=Path,
        default=Path(),
        help="folder of the workspace; default: the current one",
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    asked = _command(words)
    for name, text in ((n, t) for n, t in COMMANDS.items() if asked in (n, "")):
        command = commands.add_parser(name, help=text, description=text)
        if name == asked:
            stem = name.replace("-", "_") + "_" * keyword.iskeyword(name)
            module = importlib.import_module(f"buildsys.commands.{stem}")
            module.arguments(command)
            command.set_defaults(run=module.run)
    return parser


def _command(words: list[str]) -> str:
    """Return the command on a command line; empty if there is none."""
    rest = iter(words)
    for word in rest:
        if word == "-C":
            next(rest, None)
        elif not word.startswith("-"):
            return word if word in COMMANDS else ""
        elif word in ("-h", "--help"):
            return ""
    return ""


if __name__ == "__main__":
    sys.exit(main())
