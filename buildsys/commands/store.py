"""buildsys store: carry results from one machine to another."""

import argparse
import sys
from pathlib import Path


def arguments(parser: argparse.ArgumentParser) -> None:
    """export and import."""
    actions = parser.add_subparsers(required=True, metavar="export|import", dest="action")
    text = "the results of some builds into one file; digests decide, so take it to any machine"
    export = actions.add_parser("export", help=text, description=text)
    export.add_argument("builds", nargs="+", metavar="BUILD", help="ids or patterns")
    export.add_argument(
        "-o",
        dest="file",
        type=Path,
        required=True,
        metavar="FILE",
        help="the archive to write (tar)",
    )
    export.add_argument(
        "--packages-only",
        action="store_true",
        help="only the bytes that ship; of what lies between, the digests",
    )
    export.add_argument("--partial", action="store_true", help="what there is, without the rest")
    text = "take in such a file; import only from people whom you trust"
    load = actions.add_parser("import", help=text, description=text)
    load.add_argument("file", type=Path, metavar="FILE", help="what `buildsys store export` wrote")


def run(options: argparse.Namespace) -> int:
    """One of the two."""
    return _export(options) if options.action == "export" else _import(options)


def _export(options: argparse.Namespace) -> int:
    """10 when nothing but waiting builds was asked for, 1 when something was not made yet."""
    from buildsys.errors import BuildsysError, Waiting
    from buildsys.execution.session.session import Session
    from buildsys.execution.state.build_patterns import select
    from buildsys.graph import WaitingPlan, build_plans, candidates_of
    from buildsys.operations.destinations import find_file
    from buildsys.operations.transfer import explain_missing, gather, write
    from buildsys.text import count_text, size_text

    find_file(options.file)
    session = Session(options.folder.resolve())
    try:
        asked = [session.plans[build] for build in select(options.builds, list(session.plans))]
        asked += [each for plan in asked for each in candidates_of(plan, session.plans)]
        known = {plan.build: plan for plan in asked}.values()
        waiting = [
            f"{plan.build} waits for {plan.waiting_for}"
            for plan in known
            if isinstance(plan, WaitingPlan)
        ]
        plans = build_plans(known)
        if not plans:
            raise Waiting("\n".join(waiting))
        results = gather(session.state, plans, options.packages_only)
        if results.missing and (not options.partial or not results.actions):
            raise BuildsysError(
                f"{explain_missing(results.missing, options.partial)}\nnothing was written"
            )
        size = write(results, session.state.store, options.file)
    finally:
        session.close()
    for line in waiting:
        print(f"{line}: left out", file=sys.stderr)
    print(
        f"{options.file}: {count_text(len(plans), 'build')}, {count_text(len(results.actions), 'result')},"
        f" {count_text(len(results.blobs), 'file')}, {size_text(size)}"
    )
    return 0


def _import(options: argparse.Namespace) -> int:
    from buildsys.execution.places import Workspace
    from buildsys.execution.state.configured_store import default_store
    from buildsys.operations.transfer import take_in
    from buildsys.text import count_text, size_text

    store = default_store(Workspace(options.folder.resolve()))
    done = take_in(store, options.file)
    print(
        f"{store.root}: {count_text(done.actions, 'result')} and {count_text(done.blobs, 'file')}"
        f" imported, {size_text(done.bytes)}; {count_text(done.actions_known, 'result')} and"
        f" {count_text(done.blobs_known, 'file')} were here"
    )
    return 0
