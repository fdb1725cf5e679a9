"""buildsys verify: build again from nothing and compare with what was shipped."""

import argparse
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from buildsys.operations.verify import RebuiltStep


def arguments(parser: argparse.ArgumentParser) -> None:
    """Which build."""
    parser.add_argument("build", metavar="BUILD", help="the id of one build")
    parser.add_argument("--train", action="store_true", help="train anew, too")


def run(options: argparse.Namespace) -> int:
    """One line a step; 0 when bytes or figures are equal, 1 with the first step that differs, 10 with
    one that another machine has to do.
    """
    from buildsys.errors import InputError, Waiting
    from buildsys.execution import children
    from buildsys.execution.session.session import Session
    from buildsys.execution.session.workspace_lock import exclusive
    from buildsys.operations.verify import Verdict, shipped_plan, verify

    session = Session(options.folder.resolve())
    children.end_on_signals(lambda: None)
    try:
        chosen = session.loaded.select([options.build])
        if len(chosen) > 1:
            message, hint = f"names {len(chosen)} builds", "verify takes the id of one build"
            raise InputError.at(options.build, message, hint)
        plan = shipped_plan(session, session.plans[chosen[0]])
        with exclusive(session.workspace):
            findings = []
            for finding in verify(session, plan, options.train):
                findings.append(finding)
                print(f"{finding.verdict:<22} {finding.stage:<20} {finding.detail}".rstrip())
                if finding.verdict == Verdict.WAITS:
                    equal = _in_a_word(findings[:-1])
                    lines = (
                        f"{finding.stage} waits {finding.detail}; everything before it is {equal}"
                    )
                    print(f"{chosen[0]}: {lines}", file=sys.stderr)
                    return Waiting.exit_code
                if not finding.good:
                    print(f"{chosen[0]} differs from {finding.stage} on", file=sys.stderr)
                    return 1
    finally:
        session.close()
    print(f"{chosen[0]}: {_in_a_word(findings)}")
    return 0


def _in_a_word(findings: "list[RebuiltStep]") -> str:
    """How equal it is."""
    from buildsys.operations.verify import Verdict

    verdicts = {finding.verdict for finding in findings}
    word = "metric-equal" if Verdict.METRICS_EQUAL in verdicts else "byte-equal"
    return f"{word} but for the engine's bytes" if Verdict.SAME_NETWORK in verdicts else word
