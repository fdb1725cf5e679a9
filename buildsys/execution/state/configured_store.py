"""Which store a workspace uses."""

import os
from pathlib import Path

from buildsys.execution.places import Workspace, cache_root
from buildsys.execution.state import unchanged
from buildsys.execution.store.store import Store
from buildsys.files import stat_text


def default_store(workspace: Workspace) -> Store:
    """BUILDSYS_STORE, else what buildsys.yaml says, else the one in this user's cache directory."""
    place = os.environ.get("BUILDSYS_STORE")
    return Store(Path(place) if place else _configured(workspace) or cache_root() / "store")


def _configured(workspace: Workspace) -> Path | None:
    """`store` of buildsys.yaml; the file is parsed once a change: parsing costs more than building."""
    file, cache = workspace.root / "buildsys.yaml", workspace.state / "store.json"
    stat = stat_text(str(file))
    if stat == "absent":
        return None
    known = unchanged.find(cache, "")
    if known is None or known.files.keys() != {str(file)}:  # a record that rests on nothing
        known = unchanged.Entry(value=_read_store(file), files={str(file): stat})
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
