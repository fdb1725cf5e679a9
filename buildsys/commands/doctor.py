"""buildsys doctor: what is synced, what can be, what is missing."""

import argparse


def arguments(parser: argparse.ArgumentParser) -> None:
    """No options."""


def run(options: argparse.Namespace) -> int:
    """One sentence a finding; 1 when one of them is bad news."""
    from buildsys.upkeep.doctor import examine

    healthy = True
    for finding in examine(options.folder.resolve()):
        healthy &= finding.good
        print(f"{'ok     ' if finding.good else 'MISSING'}  {finding.text}")
    return 0 if healthy else 1
