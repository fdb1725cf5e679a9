"""buildsys compare: time the files of several builds side by side, alternating single runs."""

import argparse
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from buildsys.execution.session.session import Session
    from buildsys.steps.lib.report.values import Comparison


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments: which builds, and how many runs."""
    parser.add_argument(
        "builds", nargs="+", metavar="BUILD", help="ids, names or patterns of builds"
    )
    parser.add_argument(
        "--runs",
        type=_between(1, 10000),
        default=50,
        metavar="N",
        help="timed runs of each file (default: 50)",
    )
    parser.add_argument(
        "--warmup",
        type=_between(0, 1000),
        default=5,
        metavar="N",
        help="untimed runs before the timed ones (default: 5)",
    )
    parser.add_argument(
        "--threads", type=_between(1, 1024), default=1, metavar="N", help="CPU threads (default: 1)"
    )
    parser.add_argument("--json", action="store_true", help="print the results as JSON")


def run(options: argparse.Namespace) -> int:
    """Print the table.

    If a named build has no file to time, exit with 1 (not built), 2 (another format), 10 (waiting)
    or 11 (rejected).
    """
    from buildsys.errors import BuildsysError
    from buildsys.execution import signals
    from buildsys.execution.session.session import Session
    from buildsys.execution.session.workspace_lock import exclusive

    session = Session(options.folder.resolve())
    signals.end_on_signals(lambda: None)
    try:
        with exclusive(session.workspace):
            return _compare(session, options)
    except BuildsysError as error:
        if session.executor.failures:
            return error.exit_code  # the console has printed the error
        raise
    finally:
        session.close()


def _compare(session: "Session", options: argparse.Namespace) -> int:
    from buildsys.operations.compare import Rounds, compare, find_group
    from buildsys.report import writing
    from buildsys.report.collecting import collect
    from buildsys.report.comparisons import read_comparison

    group = find_group(session, options.builds)
    for item in group.left_out:
        print(f"{item.build} is left out: {item.reason}", file=sys.stderr)
    if len(group.plans) < 2:
        print("nothing was timed: a comparison needs two builds with a file", file=sys.stderr)
        return group.exit_code
    rounds = Rounds(threads=options.threads, runs=options.runs, warmup=options.warmup)
    path = compare(session, group.plans, rounds)
    if options.json:
        print(path.read_text(encoding="utf-8"), end="")
    else:
        found = read_comparison(path, collect(session, [], None).artifacts)
        assert found is not None
        print(render(found))
    for line in writing.finish_run(session, [])[0]:
        print(line, file=sys.stderr if options.json else sys.stdout)
    return group.exit_code


def render(found: "Comparison") -> str:
    """The table, fastest file first, and how it was measured."""
    from buildsys.steps.lib.report import formatting

    header = ("build", "file", "bytes", "batch", "mean ms", "ratio", "accuracy")
    lines = [
        header,
        *(
            (
                formatting.sharers(row.builds),
                " ".join(filter(None, (row.format, row.scheme, row.converter))),
                str(row.bytes),
                str(row.batch),
                formatting.ms(row.mean_ms),
                f"{row.ratio:.2f}",
                formatting.accuracy(row),
            )
            for row in found.rows
        ),
    ]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    numbers = {header.index(name) for name in ("bytes", "batch", "mean ms", "ratio")}
    text = [
        "  ".join(
            cell.rjust(width) if index in numbers else cell.ljust(width)
            for index, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    ]
    return "\n".join([*text, formatting.rounds(found)])


def _between(least: int, most: int) -> Callable[[str], int]:
    """A whole number within bounds."""

    def parse(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            value = least - 1
        if not least <= value <= most:
            message = f"{text} is not a whole number from {least} to {most}"
            raise argparse.ArgumentTypeError(message)
        return value

    return parse
