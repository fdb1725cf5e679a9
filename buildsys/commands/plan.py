"""buildsys plan: what would run, and why."""

import argparse
import json
import sys


def arguments(parser: argparse.ArgumentParser) -> None:
    """Which builds, and for whom."""
    parser.add_argument("builds", nargs="*", metavar="BUILD", help="ids or patterns; all without")
    parser.add_argument("--json", action="store_true", help="for programs")


def run(options: argparse.Namespace) -> int:
    """Print one block a build; 2 when a recipe is broken and no build was named."""
    from buildsys.engine.explain import explain, render
    from buildsys.engine.selection import select
    from buildsys.engine.session import Session

    session = Session(options.folder.resolve())
    rows = explain(session, select(options.builds, list(session.plans)))
    if options.json:
        print(json.dumps({"builds": rows}, indent=1))
    else:
        print(render(rows))
    for diagnostic in session.loaded.diagnostics:
        print(diagnostic.render(), file=sys.stderr)
    session.close()
    return 2 if session.loaded.errors and not options.builds else 0
