"""buildsys doctor: what is synced, what can be, what is missing."""

import argparse


def arguments(parser: argparse.ArgumentParser) -> None:
    """No options."""


def run(options: argparse.Namespace) -> int:
    """One sentence a finding; 1 when one of them is bad news that builds cannot do without."""
    from buildsys.operations.doctor import examine

    healthy = True
    for finding in examine(options.folder.resolve()):
        healthy &= finding.good or finding.optional
        word = "ok" if finding.good else "absent" if finding.optional else "MISSING"
        print(f"{word:<7}  {finding.text}")
    return 0 if healthy else 1
