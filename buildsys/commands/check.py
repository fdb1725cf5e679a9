"""buildsys check: every mistake in every recipe, before any work."""

import argparse


def arguments(parser: argparse.ArgumentParser) -> None:
    """No options yet."""


def run(options: argparse.Namespace) -> int:
    """Print every diagnostic; 2 when one of them is an error."""
    from buildsys.engine.places import Workspace
    from buildsys.engine.plans import make_plans

    plans = make_plans(Workspace(options.folder.resolve()))
    for diagnostic in plans.diagnostics:
        print(diagnostic.render())
    if plans.errors:
        count = len(plans.errors)
        print(f"{count} mistake{'s' if count > 1 else ''}")
        return 2
    count = len(plans.plans)
    print(f"{count} build{'s' if count != 1 else ''}, no mistake")
    return 0
