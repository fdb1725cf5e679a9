"""buildsys schema: JSON Schemas for editors."""

import argparse


def arguments(parser: argparse.ArgumentParser) -> None:
    """No options."""


def run(options: argparse.Namespace) -> int:
    """Write them into .buildsys and print their paths."""
    from buildsys.authoring.schema import write_schemas
    from buildsys.execution.places import Workspace

    for path in write_schemas(Workspace(options.folder.resolve()).state):
        print(path)
    return 0
