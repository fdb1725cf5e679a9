"""buildsys check: report the errors in all recipes without building."""

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from buildsys.execution.session.session import Session
    from buildsys.operations.inspect_data import Dataset


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments: whether to check the data as well, and of which builds."""
    parser.add_argument("--data", action="store_true", help="also check the images and labels")
    parser.add_argument(
        "builds",
        nargs="*",
        metavar="BUILD or RECIPE",
        help="with --data: ids, recipes or patterns of the builds whose data to check; default: all",
    )
    parser.add_argument(
        "--format",
        choices=("text", "github"),
        default="text",
        help="github: annotate the lines of a pull request",
    )


def run(options: argparse.Namespace) -> int:
    """Print every diagnostic; exit code 2 if one is an error."""
    from buildsys.errors import InputError, error_code
    from buildsys.execution.places import Workspace
    from buildsys.execution.running import isolation
    from buildsys.execution.session.loading import make_plans
    from buildsys.execution.settings.stores import default_store
    from buildsys.execution.settings.workspace_file import FILE
    from buildsys.operating_system import TRIED, platform_name
    from buildsys.printing import guard

    if options.builds and not options.data:
        message = "names of builds are only used with --data"
        hint = "`buildsys check` checks every recipe; add --data to choose data"
        raise InputError.at(options.builds[0], message, hint)
    workspace = Workspace(options.folder.resolve())
    isolation.read_variable()
    plans = make_plans(workspace)
    if not any(mistake.path == FILE for mistake in plans.errors):
        default_store(workspace)
    for diagnostic in plans.diagnostics:
        print(plans.render(diagnostic))
        if options.format == "github":
            guard(sys.stdout).command(diagnostic.annotate())
    if platform_name() != TRIED:
        from buildsys.graph import build_plans
        from buildsys.operations.host_support import describe_waiting

        for sentence in describe_waiting(build_plans(plans.plans)):
            print(sentence)
    if plans.errors:
        count = len(plans.errors)
        print(f"{count} mistake{'s' if count > 1 else ''}")
    else:
        count = len(plans.plans)
        print(f"{count} build{'s' if count != 1 else ''}, no mistake")
    code = error_code(plans.errors)
    if not options.data:
        return code
    return max(code, _look(options.folder.resolve(), options.builds, plans.broken))


def _look(root: Path, asked: list[str], broken: tuple[str, ...]) -> int:
    """Print what the datasets contain; exit code 2 if one has an error.

    `broken`: the recipes with mistakes, which were printed already.
    """
    from buildsys.execution import signals
    from buildsys.execution.places import Workspace
    from buildsys.execution.session.session import Session
    from buildsys.execution.session.workspace_lock import exclusive
    from buildsys.execution.state.plans import Plans
    from buildsys.operations.inspect_data import choose, find_datasets

    workspace = Workspace(root)
    datasets, builds = find_datasets(workspace)
    chosen, without = choose(asked, datasets, builds, broken)
    for build in without if asked else ():
        print(f"{build}: its recipe has no dataset")
    plans = Plans.of(dataset.plan for dataset in datasets)
    session = Session(root, plans=plans)
    signals.end_on_signals(lambda: None)
    with exclusive(session.workspace):
        try:
            return max([_show(session, dataset) for dataset in chosen], default=0)
        finally:
            session.close()


def _show(session: "Session", dataset: "Dataset") -> int:
    """Print one dataset: its table, its findings, the path of its contact sheet."""
    from buildsys.errors import BuildsysError, StepFailed
    from buildsys.operations.gated_classes import find_rejecting
    from buildsys.operations.inspect_data import (
        describe_shares,
        inspect,
        render_findings,
        report_folder,
    )

    try:
        look = inspect(session, dataset)
    except StepFailed as error:
        return (
            2 if error.refused else 1
        )  # the failed step has printed its error; the other datasets are still checked
    except BuildsysError as error:
        return error.exit_code
    classes = f", {_number(len(look.classes), 'class')}" if look.classes else ""
    print(f"\n{dataset.name}: {dataset.label}{classes}\n")
    print(look.table + "\n")
    for line in describe_shares(dataset, look):
        print(line + "\n")
    for line in render_findings(look.findings, dataset.place):
        print(line)
    rejecting = tuple(find_rejecting(dataset.gated, look.objects))
    for diagnostic in rejecting:
        print(diagnostic.render())
    errors, warnings = look.count("error"), look.count("warning") + len(rejecting)
    folder = report_folder(session.workspace, dataset.name).relative_to(session.workspace.root)
    files = f"{folder}/report.md" + (f", {folder}/sheet.jpg" if look.sheet else "")
    counts = f"{_number(errors, 'error')} and {_number(warnings, 'warning')}"
    whose = "its images and labels" if look.classes else "its images"
    print(f"{dataset.name}: {counts} in {whose}; {files}")
    return 2 if errors else 0


def _number(count: int, thing: str) -> str:
    ending = "es" if thing.endswith("s") else "s"
    return f"{count or 'no'} {thing}{ending if count != 1 else ''}"
