"""buildsys verify: build again from nothing and compare with what was shipped."""

import argparse
import sys


def arguments(parser: argparse.ArgumentParser) -> None:
    """Which build."""
    parser.add_argument("build", metavar="BUILD", help="the id of one build")
    parser.add_argument("--train", action="store_true", help="train anew, too")


def run(options: argparse.Namespace) -> int:
    """One line a step; 0 when bytes or figures are equal, 1 with the first step that differs."""
    from buildsys.engine import guard
    from buildsys.engine.selection import select_planned
    from buildsys.engine.session import Session
    from buildsys.engine.turns import exclusive
    from buildsys.errors import Diagnostic, InputError
    from buildsys.upkeep.verifying import shipped_plan, verify

    session = Session(options.folder.resolve())
    guard.end_on_signals(lambda: None)
    try:
        chosen = select_planned([options.build], session.loaded)
        if len(chosen) > 1:
            message, hint = f"names {len(chosen)} builds", "verify takes the id of one build"
            raise InputError(Diagnostic(path=options.build, message=message, hint=hint))
        plan = shipped_plan(session, session.plans[chosen[0]])
        with exclusive(session.workspace):
            findings = []
            for finding in verify(session, plan, options.train):
                findings.append(finding)
                print(f"{finding.verdict:<22} {finding.stage:<20} {finding.detail}".rstrip())
                if not finding.good:
                    print(f"{chosen[0]} differs from {finding.stage} on", file=sys.stderr)
                    return 1
    finally:
        session.close()
    same = all(finding.verdict != "metrics equal" for finding in findings)
    print(f"{chosen[0]}: {'byte-equal' if same else 'metric-equal'}")
    return 0
