"""buildsys build: build what is stale, as `doit` does. If nothing is stale, doit is not loaded."""

import argparse
import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from buildsys.execution.places import Workspace

_NO_SUCH_TASK = 3
"""doit's exit code for an unknown name; buildsys exits with 2 (wrong input)."""


def positive(text: str) -> int:
    """Return a number of steps, at least 1."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"`{text}` is not a number of steps: at least 1")
    return int(text)


def arguments(parser: argparse.ArgumentParser) -> None:
    """Select builds and how to run them."""
    parser.add_argument(
        "builds", nargs="*", metavar="BUILD", help="ids, names or patterns of builds; default: all"
    )
    parser.add_argument(
        "-n", type=positive, default=1, metavar="N", help="number of steps at a time"
    )
    parser.add_argument(
        "--strict", action="store_true", help="count a build that waits as a failure"
    )
    parser.add_argument(
        "--locked",
        action="store_true",
        help="fail if buildsys.lock would change or differs; the same as BUILDSYS_LOCKED=1",
    )
    parser.add_argument(
        "--format",
        choices=("text", "github"),
        default="text",
        help="github: annotate the lines of a pull request",
    )


def run(options: argparse.Namespace) -> int:
    """Return 0; 1 failed, 2 no such build, 10 waiting, 11 rejected, 12 buildsys.lock differs."""
    import gc

    from buildsys.execution.places import Workspace
    from buildsys.execution.settings.locked_variable import read_variable
    from buildsys.execution.state.settled import is_whole, settled_recipes
    from buildsys.report import stamp

    # wrong values of variables are errors even if nothing is to be done
    read_variable()
    gc.disable()  # thousands of objects stay alive, so a garbage collection finds nothing
    workspace = Workspace(options.folder.resolve())
    _check_remote(workspace)
    settled = settled_recipes(workspace)
    known = {row.id: row for rows in settled.values() for row in rows}
    builds = sorted(known)
    if is_whole(workspace, settled) and stamp.is_current(workspace, builds):
        from buildsys.execution.session.summary import render_table, settled_row, write_summary

        chosen = _choose(options.builds, builds)
        rows = [settled_row(known[build]) for build in chosen]
        if rows or not options.builds:
            write_summary(workspace, rows)
            print(render_table(rows))
            return 0
    gc.enable()
    from buildsys.doit.loader import run_builds
    from buildsys.doit.run import RunOptions

    github = options.format == "github"
    meant = RunOptions(strict=options.strict, github=github, locked=options.locked, settled=settled)
    code = run_builds(workspace.root, options.builds, options.n, meant)
    return 2 if code == _NO_SUCH_TASK else code


def _check_remote(workspace: "Workspace") -> None:
    """Raise BuildsysError for variables that name no remote store, or one that cannot be written."""
    if any(name.startswith("BUILDSYS_REMOTE") for name in os.environ):
        from buildsys.execution.settings.stores import find_remote

        find_remote(workspace)


def _choose(names: list[str], builds: list[str]) -> list[str]:
    """Return the builds with these names; none for a wrong name, which the run then reports."""
    from buildsys.errors import InputError
    from buildsys.execution.state.build_patterns import select

    try:
        return select(names, builds)
    except InputError:
        return []
