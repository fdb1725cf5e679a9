"""What is wrong in the files of a dataset, as mistakes of the recipe that names it."""

import dataclasses
from collections.abc import Callable, Sequence

from buildsys.errors import Diagnostic
from buildsys.steps.lib.datasets.labels import Finding
from buildsys.steps.lib.datasets.samples import shorten


def diagnose(findings: Sequence[Finding], label: Callable[[str], str]) -> tuple[Diagnostic, ...]:
    """The first ones, and how many more there are; `label`: how the author calls a finding's path."""
    shown, more = shorten(findings)
    found = [diagnose_one(finding, label) for finding in shown]
    if more:  # at the last place, since messages are sorted by their places
        last = max(found, key=lambda one: (one.path, one.line, one.column))
        found.append(dataclasses.replace(last, message=more, hint=""))
    return tuple(found)


def diagnose_one(finding: Finding, label: Callable[[str], str]) -> Diagnostic:
    """One of them."""
    return Diagnostic(
        path=label(finding.path),
        line=finding.line,
        column=finding.column,
        message=finding.message,
        hint=finding.hint,
    )
