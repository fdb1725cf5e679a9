"""Reads the stores and the cluster that buildsys.yaml names; a mistake in it ends the run.

`buildsys check` reads the whole file, with its datasets, by authoring/workspace.py.
"""

import contextlib
from dataclasses import dataclass
from pathlib import Path

from buildsys.cluster_settings import ClusterSettings, check_file
from buildsys.digest import plain
from buildsys.errors import InputError, shorten
from buildsys.execution.places import Workspace
from buildsys.execution.state import unchanged
from buildsys.files import may_change_again, read_written, stat_text
from buildsys.remote_settings import MODE_MOVED, RemotePlace
from buildsys.typed_json import Mismatch, decode

FILE = "buildsys.yaml"
_SECTIONS = ("store", "remote", "cluster")
KEYS = ("datasets", *_SECTIONS)
"""The keys of the file; a run reads the sections here, recipes read their datasets."""
_READER = "store, remote and cluster; no other key, no link, tcp:// or path of a certificate"
"""What this release reads from the file; the cached values of another release are read again."""
_CHECK = "run `buildsys check` to see the mistake"


@dataclass(frozen=True, kw_only=True)
class Places:
    """The stores and the cluster that buildsys.yaml names."""

    store: str = ""
    remote: RemotePlace | None = None
    cluster: ClusterSettings | None = None


def configured_places(workspace: Workspace) -> Places:
    """Return the stores and the cluster of buildsys.yaml; parsed once per change, since parsing is
    slow.

    Raises InputError for any mistake: otherwise a mistake could drop the list of trusted keys.
    """
    file, cache = workspace.root / FILE, workspace.state / "store.json"
    now = stat_text(str(file))
    if now == "absent":
        return Places()
    known = unchanged.find(cache, _READER)
    # a record without the file's stat does not count
    if known is not None and known.files.keys() == {str(file)}:
        with contextlib.suppress(ValueError):
            return decode(Places, known.value)
    racy = may_change_again(now)  # decided before reading
    found = _read_places(file)
    if workspace.state.is_dir() and not racy:  # a run creates the folder
        entry = unchanged.Entry(value=plain(found), text=_READER, files={str(file): now})
        unchanged.keep(cache, entry)
    return found


def _read_places(file: Path) -> Places:
    """Return the top-level keys `store`, `remote` and `cluster` of a YAML file.

    Raises InputError.
    """
    from ruamel.yaml import YAML
    from ruamel.yaml.error import MarkedYAMLError, YAMLError

    text = read_written(file, FILE)
    try:
        data = YAML(typ="safe", pure=True).load(text.decode("utf-8-sig"))
    except (YAMLError, ValueError, RecursionError) as error:
        mark = error.problem_mark if isinstance(error, MarkedYAMLError) else None
        line, column = (mark.line + 1, mark.column + 1) if mark else (0, 0)
        raise InputError.at(
            FILE, "it cannot be read as YAML", _CHECK, line=line, column=column
        ) from error
    sections = _sections(file, data)
    try:
        found = decode(Places, sections)
        if found.cluster is not None:
            _check_cluster(found.cluster)
    except Mismatch as error:
        line, column, source = position(file, *error.place)
        hint = MODE_MOVED if error.place == ("remote", "mode") else _CHECK
        raise InputError.at(
            FILE, error.text, hint, line=line, column=column, source=source
        ) from error
    return found


def _sections(file: Path, data: object) -> dict[str, object]:
    """Return the sections that have a value. Raises InputError for any other key.

    A misspelled `remote` would otherwise drop the list of trusted keys.
    """
    if data is None:  # an empty file
        return {}
    if not isinstance(data, dict):
        message = "the file must be a block of `key: value` lines"
        raise InputError.at(FILE, message, _CHECK, line=1, column=1)
    for key in data:
        if key not in KEYS:
            from buildsys.text import did_you_mean

            line, column, source = position(file, key, of_key=True)
            name = shorten(str(key))
            raise InputError.at(
                FILE,
                f"unknown key `{name}`",
                did_you_mean(name, KEYS),
                line=line,
                column=column,
                source=source,
            )
    return {key: data[key] for key in _SECTIONS if data.get(key) is not None}


def _check_cluster(cluster: ClusterSettings) -> None:
    try:
        check_file(cluster)
    except Mismatch as error:
        raise Mismatch(error.what, ("cluster", *error.place)) from error


def position(file: Path, *place: str | int, of_key: bool = False) -> tuple[int, int, str]:
    """Return line, column and text of the value at a path of keys and indexes, or of the last one
    found.

    `of_key`: of the keys themselves. Returns zeros where it cannot be found any more.
    """
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    line, column = 0, 0
    try:
        text = read_written(file, FILE).decode("utf-8-sig")
        node = YAML(pure=True).load(text)
        for part in place:
            find = node.lc.item if isinstance(part, int) else node.lc.value
            line, column = (node.lc.key if of_key else find)(part)
            line, column, node = line + 1, column + 1, node[part]
        return line, column, text.splitlines()[line - 1] if line else ""
    except (InputError, UnicodeDecodeError, YAMLError, AttributeError, LookupError, TypeError):
        return line, column, ""
