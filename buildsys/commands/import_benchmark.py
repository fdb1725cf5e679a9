"""buildsys import-benchmark: latency that was measured on a device, tied to the file that ran there."""

import argparse
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from buildsys.engine.measurements import Measurement

_LONGEST_DEVICE = 80


def arguments(parser: argparse.ArgumentParser) -> None:
    """Which build's file, what the tools wrote, where it ran."""
    parser.add_argument("build", metavar="ID", help="the build whose file ran on the device")
    parser.add_argument(
        "files", nargs="+", metavar="FILE",
        help="of `litert-benchmark --result_json`, `trtexec --exportTimes` or a package's `benchmark.py --json`",
    )  # fmt: skip
    parser.add_argument(
        "--device", required=True, type=_device, metavar="NAME", help='where, "Raspberry Pi 5"'
    )
    parser.add_argument(
        "--sha256", default="", metavar="DIGEST", help="an earlier file of this build is what ran"
    )


def run(options: argparse.Namespace) -> int:
    """Read everything, then write measurements/ID.json; one line a figure."""
    from buildsys.engine import measurements
    from buildsys.engine.places import Workspace
    from buildsys.engine.report import stamp
    from buildsys.engine.turns import exclusive
    from buildsys.errors import Diagnostic, InputError
    from buildsys.upkeep.benchmarks import read_benchmark
    from buildsys.upkeep.published import find_published

    workspace = Workspace(options.folder.resolve())
    published = find_published(workspace, options.build, options.sha256.lower())
    found: dict[tuple[str, str, int, str], tuple[str, measurements.Measurement]] = {}
    for path in options.files:
        item = read_benchmark(path, options.device, published)
        other, _ = found.setdefault(item.identity, (path, item))
        if other != path:
            message = f"measures what {other} measures: the same engine, device and threads"
            raise InputError(Diagnostic(path=path, message=message, hint="name one of them"))
    fresh = tuple(item for _, item in found.values())
    with exclusive(workspace):  # another import may add to the same file
        replaced = measurements.record(workspace, options.build, fresh)
        stamp.forget(workspace)
    for item in fresh:
        print(_describe(item, published.name))
    for item in replaced:
        print(f"replaced: {item.mean_ms:g} ms, {item.engine} on {item.device}, measured before")
    print(f"written to measurements/{options.build}.json: commit it")
    return 0


def _describe(item: "Measurement", name: str) -> str:
    threads = f", {item.threads} thread{'s' * (item.threads != 1)}" if item.threads else ""
    return (
        f"{name} ({item.sha256[:12]}) on {item.device}, {item.engine}{threads}:"
        f" mean {item.mean_ms:g} ms of {item.runs} runs ({item.min_ms:g} to {item.max_ms:g})"
    )


def _device(text: str) -> str:
    words = " ".join(text.split())
    if not words or not words.isprintable() or len(words) > _LONGEST_DEVICE:
        message = f"a device's name is 1 to {_LONGEST_DEVICE} printable characters"
        raise argparse.ArgumentTypeError(message)
    return words
