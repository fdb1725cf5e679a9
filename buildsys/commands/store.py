"""buildsys store: carry results from one machine to another."""

import argparse
import sys
from pathlib import Path


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments: the subcommands export, import, push and pull."""
    words = "export|import|push|pull"
    actions = parser.add_subparsers(required=True, metavar=words, dest="action")
    text = "write the results of builds into one file, to take to another machine"
    export = actions.add_parser("export", help=text, description=text)
    export.add_argument(
        "builds", nargs="+", metavar="BUILD", help="ids, names or patterns of builds"
    )
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
        help="only the files of packages; intermediate results only as digests",
    )
    export.add_argument(
        "--partial", action="store_true", help="export what exists, even if results are missing"
    )
    text = "import a file of `buildsys store export`; only from people you trust"
    load = actions.add_parser("import", help=text, description=text)
    load.add_argument(
        "file", type=Path, metavar="FILE", help="a file written by `buildsys store export`"
    )
    for name, text in (
        ("push", "upload results of builds to the store that the team shares"),
        ("pull", "download all files of builds from the team's store, to work without it"),
    ):
        action = actions.add_parser(name, help=text, description=text)
        action.add_argument(
            "builds", nargs="*", metavar="BUILD", help="ids, names or patterns of builds"
        )


def run(options: argparse.Namespace) -> int:
    """Run the chosen subcommand."""
    if options.action in ("push", "pull"):
        return _share(options)
    return _export(options) if options.action == "export" else _import(options)


def _share(options: argparse.Namespace) -> int:
    """Return exit code 1 if there is nothing of the builds to move, 10 if they wait."""
    from buildsys.errors import BuildsysError, Waiting
    from buildsys.execution.session.session import Session
    from buildsys.execution.store.shared_store import require_shared
    from buildsys.graph import WaitingPlan, build_plans, candidates_of
    from buildsys.operations.sharing import pull, push
    from buildsys.operations.transfer import explain_missing
    from buildsys.text import count_text, size_text

    pushes = options.action == "push"
    session = Session(options.folder.resolve(), pushes=pushes)
    try:
        remote = require_shared(session.state.store, writes=pushes).remote
        asked = [session.plans[build] for build in session.loaded.select(options.builds)]
        asked += [each for plan in asked for each in candidates_of(plan, session.plans)]
        plans = build_plans({plan.build: plan for plan in asked}.values())
        if not plans:
            waits = [p for p in asked if isinstance(p, WaitingPlan)]
            raise Waiting("\n".join(f"{p.build} waits for {p.waiting_for}" for p in waits))
        moved = (push if pushes else pull)(session, plans)
        traffic, url = remote.traffic, remote.settings.url
    finally:
        session.close()
    if moved.missing:
        print(explain_missing(moved.missing, partial=True), file=sys.stderr)
    if moved.foreign:
        print(
            f"{count_text(moved.foreign, 'result')} left out: this machine did not make them, as far as its records show,"
            " and they have no signature",
            file=sys.stderr,
        )
    if not moved.results and not moved.known:
        raise BuildsysError("the remote store has no results of these builds")
    if pushes:
        print(
            f"{url}: {count_text(moved.results, 'result')} and"
            f" {count_text(traffic.blobs_written, 'file')} uploaded,"
            f" {size_text(traffic.bytes_written)}; {count_text(moved.known, 'result')} already there"
        )
    else:
        print(
            f"{url}: all bytes of {count_text(len(plans), 'build')} are here;"
            f" {count_text(traffic.blobs_read, 'file')} fetched, {size_text(traffic.bytes_read)}"
        )
    return 0


def _export(options: argparse.Namespace) -> int:
    """Return exit code 10 if all named builds wait, 1 if something has not been built."""
    from buildsys.errors import BuildsysError, Waiting
    from buildsys.execution.session.session import Session
    from buildsys.graph import WaitingPlan, build_plans, candidates_of
    from buildsys.operations.destinations import find_file
    from buildsys.operations.transfer import explain_missing, gather, write
    from buildsys.text import count_text, size_text

    find_file(options.file)
    session = Session(options.folder.resolve())
    try:
        asked = [session.plans[build] for build in session.loaded.select(options.builds)]
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
    from buildsys.execution.settings.stores import default_store
    from buildsys.operations.transfer import take_in
    from buildsys.text import count_text, size_text

    store = default_store(Workspace(options.folder.resolve()))
    done = take_in(store, options.file)
    print(
        f"{store.root}: {count_text(done.actions, 'result')} and {count_text(done.blobs, 'file')}"
        f" imported, {size_text(done.bytes)}; {count_text(done.actions_known, 'result')} and"
        f" {count_text(done.blobs_known, 'file')} already here"
    )
    return 0
