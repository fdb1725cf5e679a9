"""buildsys verify: build again without stored results and compare with the package."""

import argparse
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from buildsys.operations.verify import RebuiltStep


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments: the build to verify."""
    parser.add_argument("build", metavar="BUILD", help="the id of one build")
    parser.add_argument("--train", action="store_true", help="also repeat the training")


def run(options: argparse.Namespace) -> int:
    """Print one line for each step; exit code 0 if bytes or figures are equal, 1 if a step differs,
    10 if another machine has to run one.
    """
    from buildsys.errors import InputError, Waiting
    from buildsys.execution import signals
    from buildsys.execution.session.session import Session
    from buildsys.execution.session.workspace_lock import exclusive
    from buildsys.execution.state.lock_differences import differences
    from buildsys.operations.verify import Verdict, shipped_plan, verify

    session = Session(options.folder.resolve())
    signals.end_on_signals(lambda: None)
    findings = []
    try:
        chosen = session.loaded.select([options.build])
        if len(chosen) > 1:
            message, hint = f"names {len(chosen)} builds", "verify takes the id of one build"
            raise InputError.at(options.build, message, hint)
        plan = shipped_plan(session, session.plans[chosen[0]])
        with exclusive(session.workspace):
            for finding in verify(session, plan, options.train):
                findings.append(finding)
                print(_line(finding), flush=True)
            for line in differences(session.state, (plan,)):
                print(line)
    finally:
        session.close()
    build, last = chosen[0], findings[-1]
    differing = [each.stage for each in findings if each.verdict == Verdict.DIFFERS]
    if differing:
        rest = [each for each in findings if each.good]
        others = f"; the rest is {_in_a_word(rest)}" if rest else ""
        print(f"{build} differs in {', '.join(differing)}{others}", file=sys.stderr)
        return 1
    if last.verdict == Verdict.WAITS:
        equal = _in_a_word(findings[:-1])
        waits = f"{last.stage} waits {last.detail}"
        print(f"{build}: {waits}; everything before it is {equal}", file=sys.stderr)
        return Waiting.exit_code
    print(f"{build}: {_in_a_word(findings)}")
    return 0


def _line(finding: "RebuiltStep") -> str:
    """Return the verdict, the step, what differs, and what made it."""
    more = "; ".join(filter(None, (finding.detail, finding.machines)))
    return f"{finding.verdict:<22} {finding.stage:<20} {more}".rstrip()


def _in_a_word(findings: "list[RebuiltStep]") -> str:
    """Return the verdict on the whole build."""
    from buildsys.operations.verify import Verdict
    from buildsys.text import count_text

    verdicts = {finding.verdict for finding in findings}
    word = "equal within the tolerances" if Verdict.WITHIN in verdicts else "byte-equal"
    word += " but for the engine's bytes" if Verdict.SAME_NETWORK in verdicts else ""
    left_out = [each for each in findings if each.verdict == Verdict.NOT_DONE]
    return f"{word}; {count_text(len(left_out), 'step')} not done here" if left_out else word
