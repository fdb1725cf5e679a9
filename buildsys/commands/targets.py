"""buildsys targets: list the boards and devices that recipes can name."""

import argparse


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments: the output format."""
    parser.description = (
        "The targets that recipes can name: shipped ones and the workspace's own. TASKS: what the"
        " target's firmware decodes; a network for another task needs your own decoder, and a target"
        " without firmware has all tasks. CONTRACT: whether every line of the firmware's contract was"
        " verified against its source (partly: some lines were not; unverified: the whole contract was not;"
        " none: no firmware is involved)."
        " It says nothing about the board itself; the documentation does, under Not verified."
    )
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(options: argparse.Namespace) -> int:
    """Print one line for each target, in columns; only the last cell can contain spaces.

    Exit code 2 if a target has an error.
    """
    import dataclasses
    import sys

    from buildsys.authoring.targets.lookup import Boards
    from buildsys.authoring.targets.overview import describe_targets
    from buildsys.errors import shorten
    from buildsys.json_text import json_text

    rows, problems = describe_targets(Boards(options.folder.resolve()))
    if options.json:
        found = [dataclasses.asdict(row) | {"contract": row.contract} for row in rows]
        print(json_text({"targets": found}, indent=1))
    else:
        lines = [("NAME", "SCHEMES", "TASKS", "CONTRACT", "BOARD")]
        lines += [
            (row.name, ",".join(row.schemes), ",".join(row.tasks), row.contract, shorten(row.board))
            for row in rows
        ]
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        for line in lines:
            cells = (cell.ljust(width) for cell, width in zip(line, widths, strict=True))
            print("  ".join(cells).rstrip())
    for problem in problems:
        print(problem.render(), file=sys.stderr)
    return 2 if problems else 0
