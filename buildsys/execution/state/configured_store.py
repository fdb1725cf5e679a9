"""Which store a workspace uses: never one in its repository.

What lies there may have come with a commit, and a store is believed: what it says was made is not
made again.
"""

import os
from pathlib import Path

from buildsys.errors import CannotWrite, InputError, shorten
from buildsys.execution.places import Workspace, absolute, cache_root
from buildsys.execution.state import unchanged
from buildsys.execution.store.store import Store, foreign_name
from buildsys.files import stat_text
from buildsys.write_errors import obstacle, way_out

_FILE = "buildsys.yaml"
_INSIDE = "the store would lie in the repository, where a commit could fill it"
_NO_STORE = (
    "this folder holds other things than a store (`{}`); buildsys removes old files from its store"
)
_OWN = "name a folder of its own, which is made where it is missing"
_ELSEWHERE = "name a folder outside of it, or none: ~/.cache/buildsys/store is used then"


def default_store(workspace: Workspace) -> Store:
    """BUILDSYS_STORE, else what buildsys.yaml says, else the one in this user's cache directory.

    One in the repository, or a folder of other things, is refused: InputError where buildsys.yaml
    names it, CannotWrite where the variable does. Raises CannotWrite where no directory can be there,
    too; one that may only be read is a store.
    """
    place = os.environ.get("BUILDSYS_STORE")
    if place:
        root = absolute(place, "BUILDSYS_STORE")
        problem = _problem(root, workspace)
        if problem is not None:
            raise CannotWrite(f"BUILDSYS_STORE is {root}: {problem[0]}.\n    help: {problem[1]}")
        return Store(_usable(root))
    found = _configured(workspace)
    problem = _problem(found, workspace) if found is not None else None
    if problem is not None:
        line, column, source = _position(workspace.root / _FILE)
        raise InputError.at(_FILE, *problem, line=line, column=column, source=source)
    return Store(_usable(found or cache_root() / "store"))


def _problem(place: Path, workspace: Workspace) -> tuple[str, str] | None:
    """Why a folder that somebody named is not to be the store of a workspace, and what to do."""
    if _is_inside(place, workspace):
        return _INSIDE, _ELSEWHERE
    other = foreign_name(place)
    return (_NO_STORE.format(shorten(other)), _OWN) if other else None


def _usable(root: Path) -> Path:
    """The path of a store that is there, or can be made. Raises CannotWrite."""
    found = obstacle(root)
    if found:
        way = way_out(root) or f" `store` in {_FILE} may name another folder."
        raise CannotWrite(f"the store cannot be used: {found}.{way}")
    return root


def _is_inside(place: Path, workspace: Workspace) -> bool:
    """Whether a path leads into the repository of a workspace, or is called so."""
    root = workspace.root
    repository = next((p for p in (root, *root.parents) if (p / ".git").exists()), None)
    if repository is None:
        if not (workspace.has_recipes or (root / _FILE).exists()):
            return False  # there is no workspace here, let alone a repository
        repository = root
    names = (Path(os.path.abspath(place)), Path(os.path.realpath(place)))
    return any(name.is_relative_to(p) for name in names for p in (repository, repository.resolve()))


def _position(file: Path) -> tuple[int, int, str]:
    """Line, column and text of what `store` says; zeros where it cannot be found any more."""
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    try:
        text = file.read_text(encoding="utf-8-sig")
        line, column = YAML(pure=True).load(text).lc.value("store")
    except (OSError, UnicodeDecodeError, YAMLError, AttributeError, KeyError):
        return 0, 0, ""
    return line + 1, column + 1, text.splitlines()[line]


def _configured(workspace: Workspace) -> Path | None:
    """`store` of buildsys.yaml; the file is parsed once a change: parsing costs more than building."""
    file, cache = workspace.root / _FILE, workspace.state / "store.json"
    stat = stat_text(str(file))
    if stat == "absent":
        return None
    known = unchanged.find(cache, "")
    if known is None or known.files.keys() != {str(file)}:  # a record that rests on nothing
        known = unchanged.Entry(value=_read_store(file), files={str(file): stat})
        if workspace.state.is_dir():  # which a run makes
            unchanged.keep(cache, known)
    place = known.value if isinstance(known.value, str) else ""
    return workspace.root / os.path.expanduser(place) if place else None


def _read_store(file: Path) -> str:
    """The value of the key `store` at the top of a YAML file; `buildsys check` reports mistakes."""
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    try:
        data = YAML(typ="safe", pure=True).load(file.read_text(encoding="utf-8-sig"))
    except (OSError, UnicodeDecodeError, YAMLError):
        return ""
    found = data.get("store") if isinstance(data, dict) else None
    return found if isinstance(found, str) else ""
