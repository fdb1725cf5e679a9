"""buildsys schema: write JSON Schemas for editors."""

import argparse


def arguments(parser: argparse.ArgumentParser) -> None:
    """This command has no options."""


def run(options: argparse.Namespace) -> int:
    """Write the schemas into .buildsys and print their paths."""
    from buildsys.authoring.schema import write_schemas
    from buildsys.execution.places import Workspace

    workspace = Workspace(options.folder.resolve())
    workspace.check_own()
    for path in write_schemas(workspace.state):
        print(path)
    return 0
