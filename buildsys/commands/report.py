"""buildsys report: write build/report from recorded results; nothing is built."""

import argparse
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from buildsys.execution.session.session import Session


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments: whether to write or enforce baselines.json."""
    parser.add_argument(
        "--accept",
        nargs="*",
        metavar="BUILD",
        help="write the figures of these builds (default: all) into baselines.json",
    )
    parser.add_argument(
        "--fail-on-regression",
        action="store_true",
        help="exit with 1 if a figure is worse than in baselines.json, or a build with figures there is broken or rejected",
    )


def run(options: argparse.Namespace) -> int:
    """Print where the report is and what got worse; exit code 1 if its pages could not be made."""
    from buildsys.execution import signals
    from buildsys.execution.places import Workspace
    from buildsys.execution.session.session import Session
    from buildsys.execution.session.workspace_lock import exclusive
    from buildsys.execution.state.settled import settled_recipes
    from buildsys.report import baselines, writing

    workspace = Workspace(options.folder.resolve())
    session = Session(workspace.root, settled=settled_recipes(workspace))
    signals.end_on_signals(lambda: None)
    try:
        with exclusive(workspace):
            if options.accept is not None:
                _accept(session, options.accept)
            outcome = writing.write(session, writing.gather(session, []))
    finally:
        session.close()
    missing = baselines.uncompared(baselines.read(workspace), outcome.report)
    for line in (*outcome.regressions, *missing):
        print(line)
    if outcome.problem:
        print(outcome.place, file=sys.stderr)
        return 1
    print(outcome.place)
    worse = bool(outcome.regressions) or any(build.lost for build in missing)
    return 1 if options.fail_on_regression and worse else 0


def _accept(session: "Session", names: list[str]) -> None:
    """Raise InputError for an unknown build and for a damaged baselines.json."""
    from buildsys.report import baselines, writing

    report = writing.gather(session, [])
    chosen = session.loaded.select(names, [row.id for row in report.artifacts if row.has_page])
    known = baselines.read(session.workspace)
    baselines.write(session.workspace, baselines.accept(known, report, chosen))
    for name in baselines.outdated(known, report):
        print(f"removed the figures of {name}: it is not a build of this workspace")
    ready = {item.id for item in report.artifacts if item.good}
    for name in chosen:
        print(f"accepted {name}" if name in ready else f"{name} has nothing to ship: left out")
