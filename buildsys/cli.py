"""buildsys: check, plan, schema, doctor. Exit codes: 0 done, 1 failed, 2 the input is wrong."""

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from buildsys.errors import BuildsysError


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point; errors for people are printed, everything else keeps its traceback."""
    options = _parser().parse_args(arguments)
    try:
        command: Callable[[argparse.Namespace], int] = options.command
        return command(options)
    except BuildsysError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    except BrokenPipeError:
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="buildsys", description=__doc__)
    parser.add_argument("-C", dest="folder", type=Path, default=Path(), help="the workspace")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    check = commands.add_parser("check", help="every mistake in every recipe, before any work")
    check.set_defaults(command=_check)
    plan = commands.add_parser("plan", help="what would run, and why")
    plan.add_argument("builds", nargs="*", metavar="BUILD", help="ids or patterns; all without")
    plan.add_argument("--json", action="store_true", help="for programs")
    plan.set_defaults(command=_plan)
    schema = commands.add_parser("schema", help="write JSON Schemas for editors")
    schema.set_defaults(command=_schema)
    doctor = commands.add_parser("doctor", help="what is synced, what can be, what is missing")
    doctor.set_defaults(command=_doctor)
    return parser


def _check(options: argparse.Namespace) -> int:
    from buildsys.engine.places import Workspace
    from buildsys.engine.plans import make_plans

    plans, _ = make_plans(Workspace(options.folder.resolve()))
    for diagnostic in plans.diagnostics:
        print(diagnostic.render())
    if plans.errors:
        count = len(plans.errors)
        print(f"{count} mistake{'s' if count > 1 else ''}")
        return 2
    count = len(plans.plans)
    print(f"{count} build{'s' if count != 1 else ''}, no mistake")
    return 0


def _plan(options: argparse.Namespace) -> int:
    from buildsys.engine.explain import explain, render
    from buildsys.engine.session import Session

    session = Session(options.folder.resolve())
    chosen = _select(options.builds, list(session.plans))
    rows = explain(session, chosen)
    if options.json:
        print(json.dumps({"builds": rows}, indent=1))
    else:
        print(render(rows))
    for diagnostic in session.loaded.diagnostics:
        print(diagnostic.render(), file=sys.stderr)
    session.close()
    return 2 if session.loaded.errors and not options.builds else 0


def _select(patterns: list[str], builds: list[str]) -> list[str]:
    """Builds that match; a pattern that matches nothing is an error with a suggestion."""
    from fnmatch import fnmatchcase

    from buildsys.authoring.document import did_you_mean
    from buildsys.errors import Diagnostic, InputError

    chosen: list[str] = []
    for pattern in patterns or ["*"]:
        found = [build for build in builds if fnmatchcase(build, pattern.removeprefix("build:"))]
        if not found and patterns:
            hint = did_you_mean(pattern, builds)
            raise InputError(Diagnostic(path=pattern, message="matches no build", hint=hint))
        chosen += [build for build in found if build not in chosen]
    return chosen


def _schema(options: argparse.Namespace) -> int:
    from buildsys.authoring.schema import write_schemas
    from buildsys.engine.places import Workspace

    for path in write_schemas(Workspace(options.folder.resolve()).state):
        print(path)
    return 0


def _doctor(options: argparse.Namespace) -> int:
    from buildsys.engine.doctor import examine

    healthy = True
    for finding in examine():
        healthy &= finding.good
        print(f"{'ok     ' if finding.good else 'MISSING'}  {finding.text}")
    return 0 if healthy else 1


if __name__ == "__main__":
    sys.exit(main())
