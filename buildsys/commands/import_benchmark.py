"""buildsys import-benchmark: record latency measured on a device, with the digest of the file."""

import argparse
import re
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from buildsys.execution.packages.measurements import Identity, Measurement
    from buildsys.operations.import_benchmark import Benchmark
    from buildsys.operations.published_model import Published

_LONGEST_DEVICE = 80
_PC = re.compile(r"\b(x86_64|amd64|i[3-6]86)\b", re.IGNORECASE)
"""Names of `uname -m` that are not ARM."""


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments: the build, the files that the benchmark tools wrote, and the device."""
    parser.add_argument("build", metavar="ID", help="the build whose file ran on the device")
    parser.add_argument(
        "files",
        nargs="+",
        metavar="FILE",
        help="output of `litert-benchmark --result_json`, `trtexec --exportTimes` or a package's `benchmark.py --json`",
    )
    parser.add_argument(
        "--device",
        required=True,
        type=_device,
        metavar="NAME",
        help='name of the device, such as "Raspberry Pi 5"',
    )
    parser.add_argument(
        "--sha256",
        default="",
        metavar="DIGEST",
        help="digest of the file that ran, if it was an earlier one of this build",
    )


def run(options: argparse.Namespace) -> int:
    """Read every file, then write measurements/ID.json; print one line for each measurement."""
    from buildsys.execution.packages import measurements
    from buildsys.execution.places import Workspace
    from buildsys.execution.session.workspace_lock import exclusive
    from buildsys.operations.import_benchmark import NO_DIGEST
    from buildsys.operations.published_model import find_arm_board, find_published
    from buildsys.report import stamp

    workspace = Workspace(options.folder.resolve())
    published = find_published(workspace, options.build, options.sha256.lower())
    found = _read(options.files, options.device, published)
    fresh = tuple(figure for item in found.values() for figure in item.measurements)
    with exclusive(workspace):  # another import may write the same file
        replaced = measurements.record(workspace, options.build, fresh)
        stamp.forget(workspace)
    board = find_arm_board(workspace, options.build)
    for path, item in found.items():
        for figure in item.measurements:
            print(_describe(figure, published.name))
        if item.measurement.source == "trtexec":
            print(f"{path}: {NO_DIGEST}")
        if item.machine:
            print(f"{path} was measured on: {item.machine}")
        if board and _PC.search(item.machine):
            print(_doubt(path, item, board), file=sys.stderr)
    for old in replaced:
        print(f"replaced: {old.mean_ms:g} ms, {old.engine} on {old.device}, measured before")
    print(f"written to measurements/{options.build}.json: commit it; `buildsys report` shows it")
    return 0


def _read(paths: list[str], device: str, published: "Published") -> "dict[str, Benchmark]":
    """Return every FILE by its path. Raises InputError, also if two files measure the same."""
    from buildsys.errors import InputError
    from buildsys.operations.import_benchmark import read_benchmark

    found: dict[str, Benchmark] = {}
    identities: dict[Identity, str] = {}
    for path in paths:
        found[path] = read_benchmark(path, device, published)
        other = identities.setdefault(found[path].measurement.identity, path)
        if other != path:
            message = f"measures what {other} measures: the same engine, device and threads"
            raise InputError.at(path, message, "name one of them")
    return found


def _doubt(path: str, item: "Benchmark", board: str) -> str:
    """Return a warning if a measurement from a PC is recorded for a board; else an empty text."""
    return (
        f"warning: {path} was measured on {item.machine}, which is not an ARM board; the build is for {board}.\n"
        f"  The figure is recorded for {item.measurement.device}. If that is wrong, delete its row"
        " from measurements/."
    )


def _describe(item: "Measurement", name: str) -> str:
    from buildsys.text import count_text

    threads = f", {count_text(item.threads, 'thread')}" if item.threads else ""
    batch = f", batch {item.batch}, {item.what}" if item.batch else ""
    return (
        f"{name} ({item.sha256[:12]}) on {item.device}, {item.engine}{threads}{batch}:"
        f" mean {item.mean_ms:g} ms of {count_text(item.runs, 'run')} ({item.min_ms:g} to {item.max_ms:g})"
    )


def _device(text: str) -> str:
    words = " ".join(text.split())
    if not words or not words.isprintable() or len(words) > _LONGEST_DEVICE:
        message = f"a device's name is 1 to {_LONGEST_DEVICE} printable characters"
        raise argparse.ArgumentTypeError(message)
    return words
