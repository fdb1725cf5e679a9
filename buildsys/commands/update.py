"""buildsys update: take what is here into buildsys.lock, and train anew what other tools or code trained."""

import argparse
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from buildsys.execution.session.session import Session
    from buildsys.graph import BuildPlan


def arguments(parser: argparse.ArgumentParser) -> None:
    """Whose lines, and whether even what is current."""
    parser.add_argument(
        "builds",
        nargs="*",
        metavar="BUILD or RECIPE",
        help="whose lines; ids, recipes or patterns, all without",
    )
    parser.add_argument("-n", type=int, default=1, metavar="N", help="steps at a time")
    parser.add_argument("--dry-run", action="store_true", help="only say what would change")


def run(options: argparse.Namespace) -> int:
    """A line for each change of buildsys.lock; then builds as `buildsys build` does, with recorded
    trainings of other tools or code left out. 12 where nothing may change the file.
    """
    from buildsys.doit.loader import run_builds
    from buildsys.doit.run import RunOptions
    from buildsys.errors import NotAsLocked
    from buildsys.execution.session.session import Session
    from buildsys.execution.session.workspace_lock import exclusive
    from buildsys.execution.state.locked_variable import VARIABLE
    from buildsys.execution.state.recording import training_notes
    from buildsys.graph import build_plans, candidates_of, steps_of

    session = Session(options.folder.resolve())
    try:
        if session.locked:
            raise NotAsLocked(f"{VARIABLE} is set: nothing may change buildsys.lock")
        chosen = [session.plans[build] for build in _select(session, options.builds)]
        plans = build_plans(
            (*chosen, *(each for plan in chosen for each in candidates_of(plan, session.plans)))
        )
        steps = tuple({step.id: step for plan in plans for step in plan.steps}.values())
        notes = training_notes(session.state, steps)
        kept = {step.id for step in steps if step.id in session.state.kept}
        unknown = {
            step.id for step in steps if step.trains and session.state.known_key(step) is None
        }
        session.record.locked = options.dry_run
        with exclusive(session.workspace):
            changes = session.record.take(plans, _whole(session, plans))
    finally:
        session.close()
    for line in (*changes, *notes):
        print(line)
    for recipe in sorted({plan.recipe for plan in plans if unknown & {s.id for s in plan.steps}}):
        print(
            f"training of {recipe}: what it reads is not made here yet; its line is compared then"
        )
    if not (changes or kept or unknown):
        print("buildsys.lock records what is here, made with the tools and code of now")
    if options.dry_run or not (kept or unknown):
        return 0
    names = [
        f"build:{plan.build}"
        for plan in chosen
        if (kept | unknown)
        & {
            step.id
            for each in (plan, *candidates_of(plan, session.plans))
            for step in steps_of(each)
        }
    ]
    return run_builds(session.workspace.root, names, options.n, RunOptions(retrain=True))


def _select(session: "Session", names: Sequence[str]) -> list[str]:
    """The builds of ids, recipes or patterns of either. Raises InputError."""
    from fnmatch import fnmatchcase

    chosen: list[str] = []
    for name in names or ("*",):
        of_recipe = [plan.build for plan in session.loaded.plans if fnmatchcase(plan.recipe, name)]
        chosen += of_recipe or session.loaded.select([name] if names else [])
    return list(dict.fromkeys(chosen))


def _whole(session: "Session", plans: "Sequence[BuildPlan]") -> frozenset[str]:
    """Recipes of which every build is planned: what no plan of theirs has, they do not use."""
    from buildsys.graph import WaitingPlan

    partial = {plan.recipe for plan in session.loaded.plans if isinstance(plan, WaitingPlan)}
    return frozenset(plan.recipe for plan in plans) - partial - set(session.loaded.broken)
