"""buildsys update: record this machine's results in buildsys.lock, and repeat outdated
trainings.
"""

import argparse
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from buildsys.commands.build import positive

if TYPE_CHECKING:
    from buildsys.execution.session.session import Session
    from buildsys.graph import BuildPlan, Plan


_UNCHANGED = "buildsys.lock already records the results of the current tools and code"
_NOTHING_TO_RECORD = "there are no results of data, models or trainings to record in buildsys.lock"


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments: which builds, how many steps at a time, and whether to change nothing."""
    parser.add_argument(
        "builds",
        nargs="*",
        metavar="BUILD or RECIPE",
        help="ids, recipes or patterns of the builds to record; default: all",
    )
    parser.add_argument("-n", type=positive, default=1, metavar="N", help="steps at a time")
    parser.add_argument("--dry-run", action="store_true", help="only print what would change")


def run(options: argparse.Namespace) -> int:
    """Print each change of buildsys.lock, then build as `buildsys build` does, ignoring recorded
    trainings of other tools or code.

    Exit code 12 if the file must not change, 1 if a recipe has an error.
    """
    from buildsys.doit.loader import run_builds
    from buildsys.doit.run import RunOptions
    from buildsys.errors import NotAsLocked
    from buildsys.execution.session.session import Session
    from buildsys.execution.settings.locked_variable import VARIABLE

    session = Session(options.folder.resolve())
    try:
        if session.locked and not options.dry_run:
            raise NotAsLocked(f"{VARIABLE} is set: buildsys.lock must not change")
        found = session.loaded.common if options.builds else session.loaded.errors
        errors = tuple(diagnostic for diagnostic in found if diagnostic.is_error)
        for diagnostic in errors:
            print(session.loaded.render(diagnostic), file=sys.stderr)
        lines, names = _record(session, options.builds, options.dry_run)
    finally:
        session.close()
    for line in lines:
        print(line)
    code = 1 if errors else 0
    if not (lines or names or errors):
        print(_UNCHANGED if session.record.lock.lines else _NOTHING_TO_RECORD)
    if options.dry_run or not names:
        return code
    return run_builds(session.workspace.root, names, options.n, RunOptions(retrain=True)) or code


def _record(
    session: "Session", builds: "Sequence[str]", dry_run: bool
) -> tuple[list[str], list[str]]:
    """Record the results of these builds, or only find out what would change.

    Returns lines to print, and the builds whose trainings are to be made again. Raises InputError,
    CannotWrite.
    """
    from buildsys.execution.session.workspace_lock import exclusive
    from buildsys.graph import build_plans, candidates_of, steps_of

    chosen = [session.plans[build] for build in session.loaded.select(builds, by_recipe=True)]
    members = {plan.build: (plan, *candidates_of(plan, session.plans)) for plan in chosen}
    plans = build_plans((*chosen, *(each for plan in chosen for each in members[plan.build][1:])))
    notes, anew = _trainings(session, plans)
    recipes = session.whole_recipes(plans)
    if not builds:
        recipes |= _recipes_of_lines(session) - {r.name for r in session.loaded.recipes}
    session.record.locked = dry_run
    with exclusive(session.workspace):
        changes = session.record.take(plans, recipes)
    notes += _absences(session, chosen, plans)
    steps = {
        name: {step.id for each in found for step in steps_of(each)}
        for name, found in members.items()
    }
    return [*changes, *notes], [name for name, own in steps.items() if anew & own]


def _trainings(session: "Session", plans: "Sequence[BuildPlan]") -> tuple[list[str], set[str]]:
    """Return notes about the plans' trainings, and the steps that train."""
    from buildsys.execution.state.recording import training_notes, trains_anew

    steps = {step.id: step for plan in plans for step in plan.steps if step.trains}
    anew = {step.id for step in steps.values() if trains_anew(session.state, step)}
    notes = training_notes(session.state, tuple(steps.values()))
    unknown = {name for name in anew if session.state.known_key(steps[name]) is None}
    new = {name for name in anew - unknown if name not in session.state.kept} - {
        step.id for step in steps.values() if training_notes(session.state, (step,))
    }
    for recipe in sorted({plan.recipe for plan in plans}):
        own = {step.id for plan in plans if plan.recipe == recipe for step in plan.steps}
        if own & unknown:
            notes.append(
                f"training of {recipe}: its inputs are not made yet; its line is compared after that"
            )
        if own & new:
            notes.append(f"training of {recipe}: it has no line and no result; it is trained")
    return notes, anew


def _absences(
    session: "Session", chosen: "Sequence[Plan]", plans: "Sequence[BuildPlan]"
) -> list[str]:
    """Return notes about missing files, which cannot be recorded."""
    from buildsys.execution.state.lock_differences import absent_sources
    from buildsys.graph import WaitingPlan

    keys = dict.fromkeys(key for plan in plans for key in absent_sources(session.state, plan))
    waiting = dict.fromkeys(plan.waiting_for for plan in chosen if isinstance(plan, WaitingPlan))
    return [
        *(f"{key}: the files are not here; the line is not compared" for key in keys),
        *(f"{name} is not here: what is made from it is not compared" for name in waiting),
    ]


def _recipes_of_lines(session: "Session") -> frozenset[str]:
    """Return the recipes with trainings in buildsys.lock."""
    from buildsys.lockfile import is_training, recipe_of

    return frozenset(recipe_of(key) for key in session.record.lock.by_key if is_training(key))
