"""buildsys plan: show which steps would run, and why."""

import argparse
import sys
from collections.abc import Collection, Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from buildsys.errors import Diagnostic
    from buildsys.execution.session.explain import BuildRow

_STATES = ("waiting", "stale", "rejected", "restorable", "broken", "blocked")


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments: which builds, the output format, and which states count as failures."""
    parser.add_argument(
        "builds", nargs="*", metavar="BUILD", help="ids, names or patterns of builds; default: all"
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument(
        "--format",
        choices=("text", "github"),
        default="text",
        help="github: annotate the lines of a pull request",
    )
    parser.add_argument(
        "--fail-on",
        default="",
        metavar="STATES",
        help="exit with 1 if a build is in one of these states: " + ", ".join(_STATES),
    )


def run(options: argparse.Namespace) -> int:
    """Print one block for each build; exit code 2 if the workspace has an error, or a recipe
    and no build was named.
    """
    from buildsys.errors import error_code
    from buildsys.execution.session.explain import explain, for_json, render
    from buildsys.execution.session.session import Session
    from buildsys.execution.session.summary import unread_note
    from buildsys.json_text import json_text

    failing = _states(options.fail_on)
    session = Session(options.folder.resolve())
    chosen = session.loaded.select(options.builds)
    session.look_up(chosen)
    rows = explain(session, chosen)
    if options.json:
        print(json_text({"builds": [for_json(row) for row in rows]}, indent=1))
    else:
        print(render(rows))
    diagnostics = session.loaded.diagnostics
    if options.builds:
        recipes = [session.plans[build].recipe for build in chosen]
        diagnostics = session.loaded.concerning(recipes)
    note = unread_note((row.state for row in rows), session.state.store)
    if note:
        print(note, file=sys.stderr)
    for diagnostic in diagnostics:
        print(session.loaded.render(diagnostic), file=sys.stderr)
    if options.format == "github":
        _annotate(diagnostics, rows, failing)
    session.close()
    code = error_code(session.loaded.common if options.builds else session.loaded.errors)
    if code:
        return code
    return 1 if any(row.state.kind in failing for row in rows) else 0


def _states(text: str) -> list[str]:
    """The states of --fail-on. Raises InputError."""
    from buildsys.errors import InputError

    words = [word.strip() for word in text.split(",") if word.strip()]
    for word in words:
        if word not in _STATES:
            hint = "there are: " + ", ".join(_STATES)
            message = f"unknown state `{word}`"
            raise InputError.at("--fail-on", message, hint)
    return words


def _annotate(
    diagnostics: "Iterable[Diagnostic]", rows: "Iterable[BuildRow]", failing: Collection[str]
) -> None:
    """Print GitHub workflow commands: errors at their lines, and builds that wait or are stale.

    `failing`: the states that end the command with 1.
    """
    from buildsys.printing import annotation, guard

    for diagnostic in diagnostics:
        guard(sys.stdout).command(diagnostic.annotate())
    for row in rows:
        if row.state.kind not in ("up-to-date", "restorable"):
            kind = "error" if row.state.kind in failing else "notice"
            guard(sys.stdout).command(annotation(kind, str(row.state), title=row.build))
