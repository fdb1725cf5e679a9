"""buildsys doctor: report what is synced, what can be synced, and what is missing."""

import argparse


def arguments(parser: argparse.ArgumentParser) -> None:
    """This command has no options."""


def run(options: argparse.Namespace) -> int:
    """Print one sentence for each finding; exit code 1 if builds cannot work without what is
    missing.
    """
    from buildsys.operations.doctor import examine

    healthy = True
    for finding in examine(options.folder.resolve()):
        healthy &= finding.good or finding.optional
        word = "ok" if finding.good else "absent" if finding.optional else "MISSING"
        print(f"{word:<7}  {finding.text}")
    return 0 if healthy else 1
