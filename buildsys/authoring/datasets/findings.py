"""What is wrong in the files of a dataset, as mistakes of the recipe that names it."""

from collections.abc import Callable, Sequence

from buildsys.errors import Diagnostic
from buildsys.steps.lib.datasets.labels import Finding
from buildsys.steps.lib.datasets.samples import shorten


def diagnose(findings: Sequence[Finding], label: Callable[[str], str]) -> tuple[Diagnostic, ...]:
    """The first ones, and how many more there are; `label`: how the author calls a finding's path."""
    shown, more = shorten(findings)
    found = [
        Diagnostic(
            path=label(finding.path),
            line=finding.line,
            column=finding.column,
            message=finding.message,
            hint=finding.hint,
        )
        for finding in shown
    ]
    if more:
        last = max(diagnostic.path for diagnostic in found)  # they are sorted by their paths
        found.append(Diagnostic(path=last, line=0, column=0, message=more))
    return tuple(found)
