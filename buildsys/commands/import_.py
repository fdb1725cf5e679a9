"""buildsys import: put the result of a bundle into the store; `doit` then packages it."""

import argparse
from pathlib import Path


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments: the result to import."""
    parser.add_argument(
        "result",
        type=Path,
        metavar="FOLDER",
        help="a bundle in which `python3 build.py` ran, its result, or a .zip or .tar of it",
    )
    parser.add_argument(
        "--device",
        default="",
        metavar="NAME",
        help="name of the device where benchmark.json was measured; default: the GPU's name",
    )


def run(options: argparse.Namespace) -> int:
    """Check the whole result, then store engine, timing cache and measurements."""
    from buildsys.execution.places import Workspace
    from buildsys.execution.session.workspace_lock import exclusive
    from buildsys.operations import bundle, import_bundle

    workspace = Workspace(options.folder.resolve())
    with import_bundle.opened(options.result) as result:
        remote = bundle.plan_remote_build(workspace, result.build)
        figures = import_bundle.read_figures(result, remote, options.device)
        with exclusive(workspace):
            session = bundle.open_session(workspace, remote)
            try:
                import_bundle.take_back(session, remote, result, options.result)
            finally:
                session.close()
            import_bundle.keep_figures(workspace, remote, figures)
    print(f"{remote.build.id}: engine built by {result.machine}")
    for item in figures:
        batch = f", batch {item.batch}" if item.batch else ""
        print(
            f"figures of {item.device}{batch}, {item.what}:"
            f" mean {item.mean_ms:g} ms of {item.runs} runs"
        )
    print(f"`doit build:{remote.build.id}` packages it without building it")
    return 0
