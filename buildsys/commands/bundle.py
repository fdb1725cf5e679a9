"""buildsys bundle: write a folder from which another machine builds an engine."""

import argparse
import os
from pathlib import Path


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments: one build, and the folder to write."""
    parser.add_argument("build", metavar="BUILD", help="the id of one build that ships an engine")
    parser.add_argument(
        "--out",
        type=Path,
        metavar="DIR",
        help="the folder to write; default: build/bundles/RECIPE/TARGET",
    )


def run(options: argparse.Namespace) -> int:
    """Run the steps before the engine, write the folder, print what to do with it."""
    from buildsys.errors import BuildsysError
    from buildsys.execution import signals
    from buildsys.execution.places import Workspace
    from buildsys.execution.session.workspace_lock import exclusive
    from buildsys.operations import bundle
    from buildsys.text import size_text

    workspace = Workspace(options.folder.resolve())
    remote = bundle.plan_remote_build(workspace, options.build)
    target = options.out or bundle.default_folder(workspace, remote.build.id)
    signals.end_on_signals(lambda: None)
    with exclusive(workspace):
        session = bundle.open_session(workspace, remote)
        try:
            written = bundle.make(session, remote, target.absolute())
        except BuildsysError as error:
            if session.executor.failures:
                return error.exit_code  # the failed step has printed its error
            raise
        finally:
            session.close()
    print(f"{remote.build.id}: {size_text(written.bytes)} in {os.path.relpath(written.folder)}")
    print(
        f"take it to a machine with {written.machine}, run `python3 build.py` in it, bring it back,"
    )
    print("and run `buildsys import FOLDER`")
    return 0
