"""buildsys init: make a workspace in a folder, from the installed package alone."""

import argparse
import os
import shlex
import shutil
import sys
from pathlib import Path

from buildsys.errors import InputError

_IGNORED = ("/build/", "/.buildsys/")
"""Lines of .gitignore."""


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments: the folder."""
    where = "the folder; default: the current one"
    parser.add_argument(
        "directory", nargs="?", type=Path, default=Path(), metavar="DIR", help=where
    )


def run(options: argparse.Namespace) -> int:
    """Write missing files, keep existing ones, print both and the next command."""
    from buildsys.authoring.schema import write_schemas
    from buildsys.execution.places import Workspace

    root = options.folder / options.directory
    try:
        written, kept = _fill(root)
        workspace = Workspace(root)
        state = workspace.state
        fresh = not os.path.exists(state)  # schemas are written again each time; print them once
        workspace.check_own()
        schemas = [f"{state.name}/{path.name}" for path in write_schemas(state)]
    except OSError as error:
        message = f"cannot be written: {error.strerror}"
        raise InputError.at(str(error.filename or root), message) from error
    for path in [*written, *(schemas if fresh else ())]:
        print(f"wrote  {path}")
    for path, why in kept:
        print(f"kept   {path}{why}")
    print(f"\nnext:  {_next(root, written)}")
    return 0


def _fill(root: Path) -> tuple[list[str], list[tuple[str, str]]]:
    """Write the missing files; returns (paths written, (path, missing lines) of kept files).

    A folder with recipes gets no first recipe.
    """
    from buildsys.authoring.scaffold.starters import LOADER_FILE, names_loader, starter_files
    from buildsys.files import refuse_links, yaml_files
    from buildsys.names import is_junk

    if os.path.exists(root) and not os.path.isdir(root):
        message = "is a file; a workspace is a folder"
        raise InputError.at(str(root), message)
    empty = not os.path.exists(root) or not any(
        p for p in root.iterdir() if not p.name.startswith(".") and not is_junk(p.name)
    )
    written: list[str] = []
    kept: list[tuple[str, str]] = []
    for name, text in starter_files().items():
        path = root / name
        if name == LOADER_FILE and not os.path.exists(path) and names_loader(root):
            continue
        if os.path.exists(path) or os.path.islink(path):
            kept.append((name, _missing_lines(path, name)))
        elif name == "README.md" and not empty:
            continue
        elif name.startswith("recipes/") and yaml_files(root / "recipes"):
            kept.append(("recipes/", ": the workspace has recipes already"))
        else:
            refuse_links(root, path)
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open(
                "x", encoding="utf-8"
            ) as stream:  # never overwrite a file that was written meanwhile
                stream.write(text)
            written.append(name)
    return written, kept


def _missing_lines(path: Path, name: str) -> str:
    """Return the lines that a kept file lacks, for the message; empty if it lacks none."""
    from buildsys.authoring.scaffold.requirement import own_requirement
    from buildsys.authoring.scaffold.starters import LOADER_FILE, names_loader
    from buildsys.files import read_regular

    try:
        text = read_regular(path).decode("utf-8", "replace")
    except OSError:
        return "; it cannot be read"
    if name == "requirements.txt":
        return "" if "buildsys" in text else f"; add the line {own_requirement()}"
    if name == LOADER_FILE:
        return "" if names_loader(path.parent) else "; add `loader = buildsys` to its [GLOBAL]"
    if name == "dodo.py" and _imports_other_release(text):
        return (
            "; it imports another release of buildsys: move it away and run `buildsys init` again"
        )
    if name != ".gitignore":
        return ""
    present = {line.strip().strip("/") for line in text.splitlines()}
    missing = [line for line in _IGNORED if line.strip("/") not in present]
    return f"; add the lines {' and '.join(missing)}" if missing else ""


def _imports_other_release(dodo: str) -> bool:
    """Return whether the file imports a task module of another release."""
    lines = [line.split() for line in dodo.splitlines()]
    modules = {words[1] for words in lines if words[:1] in (["from"], ["import"]) and words[1:]}
    return any(name.startswith("buildsys.") and name != "buildsys.doit.loader" for name in modules)


def _next(root: Path, written: list[str]) -> str:
    """Return the next command, as it can be typed here."""
    command = "doit" if any(name.startswith("recipes/") for name in written) else "buildsys check"
    beside = Path(sys.executable).with_name(command.split(maxsplit=1)[0])
    found = shutil.which(beside.name)
    if os.path.exists(beside) and (found is None or Path(found).resolve() != beside.resolve()):
        command = command.replace(beside.name, shlex.quote(str(beside)))
    inside = root.resolve() == Path.cwd()
    return command if inside else f"cd {shlex.quote(str(root))} && {command}"
