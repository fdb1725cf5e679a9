"""Turns mistakes in the files of a dataset into mistakes of the recipe that names it."""

import dataclasses
from collections.abc import Callable, Sequence

from buildsys.errors import Diagnostic
from buildsys.steps.lib.datasets.labels import Finding
from buildsys.steps.lib.datasets.samples import shorten


def diagnose(findings: Sequence[Finding], label: Callable[[str], str]) -> tuple[Diagnostic, ...]:
    """Return the first mistakes, and the number of the others.

    `label`: returns the author's name for a finding's path.
    """
    shown, more = shorten(findings)
    found = [diagnose_one(finding, label) for finding in shown]
    if more:  # at the last place, since messages are sorted by their places
        last = max(found, key=lambda one: (one.path, one.line, one.column))
        found.append(dataclasses.replace(last, message=more, hint=""))
    return tuple(found)


def diagnose_one(finding: Finding, label: Callable[[str], str]) -> Diagnostic:
    """Return the diagnostic of one finding."""
    return Diagnostic(
        path=label(finding.path),
        line=finding.line,
        column=finding.column,
        message=finding.message,
        hint=finding.hint,
    )
