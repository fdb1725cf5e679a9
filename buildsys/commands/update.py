"""buildsys update: train anew what was trained with other tools or code, and record it."""

import argparse


def arguments(parser: argparse.ArgumentParser) -> None:
    """Which builds, and whether even what is current."""
    parser.add_argument("builds", nargs="*", metavar="BUILD", help="ids or patterns; all without")
    parser.add_argument("-n", type=int, default=1, metavar="N", help="steps at a time")
    parser.add_argument("--dry-run", action="store_true", help="only say what would train anew")


def run(options: argparse.Namespace) -> int:
    """Builds as `buildsys build` does, with recorded trainings of other tools or code left out."""
    from buildsys.doit.loader import run_builds
    from buildsys.doit.run import RunOptions
    from buildsys.execution.session.session import Session
    from buildsys.execution.state.build_patterns import select
    from buildsys.execution.state.recording import training_notes
    from buildsys.graph import steps_of

    session = Session(options.folder.resolve())
    chosen = [session.plans[build] for build in select(options.builds, list(session.plans))]
    steps = tuple({step.id: step for plan in chosen for step in steps_of(plan)}.values())
    notes = training_notes(session.state, steps)
    kept = [step for step in steps if step.id in session.state.kept]
    session.close()
    for note in notes:
        print(note)
    if not kept:
        print("every recorded training was made with the tools and code of now")
        return 0
    if options.dry_run:
        return 0
    names = [f"build:{plan.build}" for plan in chosen if set(kept) & set(steps_of(plan))]
    return run_builds(session.workspace.root, names, options.n, RunOptions(retrain=True))
