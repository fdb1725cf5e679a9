"""Finds the store of a workspace and the remote store behind it; neither may be in the repository.

A commit could have put files there, and results in a store are trusted: they are not made again.
buildsys.yaml also comes with a commit: it may name a folder that only this user can write to, and a
remote store to read from. Other stores have to be named by environment variables.
"""

import contextlib
import os
import stat
from pathlib import Path
from typing import get_args
from urllib.parse import unquote, urlsplit

from buildsys.errors import BuildsysError, CannotWrite, InputError, shorten
from buildsys.escaping import hide_passwords
from buildsys.execution.places import Workspace, absolute, cache_root
from buildsys.execution.settings.workspace_file import FILE, configured_places, position
from buildsys.execution.store.store import REMOTES, Store, foreign_name
from buildsys.remote_settings import (
    Mode,
    RemotePlace,
    RemoteSettings,
    trust_id,
    variables_of,
)
from buildsys.write_errors import obstacle, way_out

REMOTE, REMOTE_MODE = "BUILDSYS_REMOTE", "BUILDSYS_REMOTE_MODE"
_INSIDE = "the {} would lie in the repository, where a commit could fill it"
_NO_STORE = (
    "this folder holds files that are not a store's (`{}`); buildsys removes old files from its"
    " store"
)
_OWN = "name a folder for the store alone; buildsys creates it if it is missing"
_SHARED = "other users can write to {}, and results in a store are trusted"
_TRUSTED = "set BUILDSYS_STORE={0} if you trust all of them, or run `chmod -R go-w {0}`"
_TRUSTED_ABOVE = "name another folder, or set BUILDSYS_STORE={} if you trust all of them"
_FOREIGN = "{} belongs to another user, and results in a store are trusted"
_TRUSTED_USER = "set BUILDSYS_STORE={} if you trust that user"
_ELSEWHERE = "name a folder outside of it, or none: ~/.cache/buildsys/store is used then"


def default_store(workspace: Workspace, named: str = "", *, pushes: bool = False) -> Store:
    """Return the workspace's store, with the remote store behind it if the workspace uses one.

    The first of these counts: `named` (from `--store`), BUILDSYS_STORE, buildsys.yaml, the store in
    the user's cache directory. A folder in the repository, or with other files, is refused:
    InputError where buildsys.yaml names it, CannotWrite where the variable does. Raises CannotWrite
    also where no directory can be created; a read-only store is accepted. `pushes`: see
    `find_remote`.
    """
    root, is_own = _find_root(workspace, named)
    remote = find_remote(workspace, pushes=pushes)
    if remote is None:
        store, switched_off = Store(root), _switched_off(workspace)
        if switched_off is not None:  # earlier results of that remote still count
            store.trust = trust_id(switched_off)
            store.trusts_workers = not switched_off.trusted
    else:
        from buildsys.execution.store.shared_store import SharedStore

        _keep_apart(root, remote)
        store = SharedStore(root, remote)
    store.is_own = is_own
    return store


def _keep_apart(root: Path, remote: RemoteSettings) -> None:
    """Raise CannotWrite if the remote store and the local store are the same, or one contains the
    other.
    """
    if remote.scheme != "file":
        return
    own, other = os.path.realpath(root), os.path.realpath(_folder(remote))
    if os.path.commonpath((own, other)) in (own, other):
        raise CannotWrite(
            f"the remote store {remote.url} and the local store {root} overlap: name"
            " another folder."
        )


def _folder(remote: RemotePlace) -> Path:
    return Path(unquote(urlsplit(remote.url).path))


def _switched_off(workspace: Workspace) -> RemotePlace | None:
    """Return the remote store that would be used if the variable were not `none`, if any."""
    found, place = configured_places(workspace).remote, os.environ.get(REMOTE, "")
    if place in ("", "none"):
        return found
    with contextlib.suppress(ValueError):
        return RemotePlace(url=place, trusted=found.trusted if found else ())
    return None


def find_remote(workspace: Workspace, *, pushes: bool = False) -> RemoteSettings | None:
    """Return the remote store that BUILDSYS_REMOTE or else buildsys.yaml names; None for neither.

    The variable overrides everything about the store's location; the trusted keys always come from
    the file. A run writes only to the store that the variable names, and only if
    BUILDSYS_REMOTE_MODE allows it. `pushes`: a command requests the writing, so no variable is
    needed. Raises InputError; BuildsysError for variables.
    """
    place, mode = os.environ.get(REMOTE, ""), os.environ.get(REMOTE_MODE, "")
    if "none" in (place, mode):
        return None
    wanted = _wanted_mode(mode, pushes=pushes)
    found = configured_places(workspace).remote
    if mode == "read-write" and not place and not pushes:
        raise BuildsysError(
            f"{REMOTE_MODE} is `read-write`, and {REMOTE} is not set: a run writes only to a store that your"
            f" environment names, {variables_of(found)}"
        )
    remote = _named_remote(place, found, wanted)
    if remote is not None and remote.scheme == "file" and is_inside(_folder(remote), workspace):
        message = _INSIDE.format("remote store")
        if place:
            raise BuildsysError(f"{REMOTE} is {place}: {message}")
        line, column, source = position(workspace.root / FILE, "remote")
        hint = "name a folder outside of it"
        raise InputError.at(FILE, message, hint, line=line, column=column, source=source)
    return remote


def _wanted_mode(word: str, *, pushes: bool) -> Mode:
    """Return what BUILDSYS_REMOTE_MODE, or else the command, asks for. Raises BuildsysError."""
    usual: Mode = "read-write" if pushes else "read"
    modes: dict[str, Mode] = {"": usual, **{mode: mode for mode in get_args(Mode)}}
    if word not in modes:
        raise BuildsysError(f"{REMOTE_MODE} is `{shorten(word)}`; it is read, read-write or none")
    return modes[word]


def _named_remote(place: str, found: RemotePlace | None, mode: Mode) -> RemoteSettings | None:
    """Return the remote store at `place`, or else the one that buildsys.yaml names.

    Raises BuildsysError.
    """
    if not place and found is None:
        return None
    trusted, endpoint = (found.trusted, found.endpoint) if found is not None else ((), "")
    url = place or (found.url if found is not None else "")
    try:
        return RemoteSettings(
            url=url, endpoint="" if place else endpoint, mode=mode, trusted=trusted
        )
    except ValueError as error:
        named = REMOTE if place else f"`remote` in {FILE}"
        shown = shorten(hide_passwords(url.partition("?")[0]))
        raise BuildsysError(f"{named} is `{shown}`: {error}") from error


def _find_root(workspace: Workspace, named: str) -> tuple[Path, bool]:
    """Return where the store is, and whether buildsys.yaml named it and only this user can write
    there.
    """
    place, whose = (
        named or os.environ.get("BUILDSYS_STORE"),
        "--store" if named else "BUILDSYS_STORE",
    )
    if place:
        root = absolute(place, whose)
        problem = _problem(root, workspace)
        if problem is not None:
            raise CannotWrite(f"{whose} is {root}: {problem[0]}.\n    help: {problem[1]}")
        return _usable(root), False
    configured = configured_places(workspace).store
    found = workspace.root / os.path.expanduser(configured) if configured else None
    problem = None
    if found is not None:
        problem = _problem(found, workspace)
        found = Path(os.path.realpath(found))  # another user's link could lead elsewhere later
        problem = problem or _writers(found) or _writers_above(found)
    if problem is not None:
        line, column, source = position(workspace.root / FILE, "store")
        raise InputError.at(FILE, *problem, line=line, column=column, source=source)
    return _usable(found or cache_root() / "store"), found is not None


def _problem(place: Path, workspace: Workspace) -> tuple[str, str] | None:
    """Return why a configured folder cannot be the workspace's store and what to do.

    Returns None if it can.
    """
    if is_inside(place, workspace):
        return _INSIDE.format("store"), _ELSEWHERE
    other = foreign_name(place)
    return (_NO_STORE.format(shorten(other)), _OWN) if other else None


def _writers(root: Path) -> tuple[str, str] | None:
    """Return why an existing store may hold other users' files and what to do.

    Returns None if it cannot.
    """
    for place in (root, root / "actions", root / "blobs", root / REMOTES):
        try:
            found = place.stat()
        except OSError:  # missing, or unusable: reported elsewhere
            continue
        if found.st_uid != os.geteuid():
            return _FOREIGN.format(place), _TRUSTED_USER.format(root)
        if found.st_mode & 0o022:
            return _SHARED.format(place), _TRUSTED.format(root)
        if place == root and not found.st_mode & 0o011:
            return None  # no other user has access
    return None


def _writers_above(root: Path) -> tuple[str, str] | None:
    """Return why other users could replace a store's folder and what to do; None if they cannot.

    A user who can write to a parent folder can rename what it contains, unless the store exists and
    the sticky bit is set.
    """
    is_there = root.exists()
    for place in root.parents:
        try:
            found = place.stat()
        except OSError:  # it is made with the store
            continue
        if found.st_uid not in (0, os.geteuid()):
            return _FOREIGN.format(place), _TRUSTED_USER.format(root)
        if found.st_mode & 0o002 and not (is_there and found.st_mode & stat.S_ISVTX):
            return _SHARED.format(place), _TRUSTED_ABOVE.format(root)
        is_there = True
    return None


def _usable(root: Path) -> Path:
    """Return the path of a store that exists or can be created. Raises CannotWrite."""
    found = obstacle(root)
    if found:
        way = way_out(root) or f" `store` in {FILE} may name another folder."
        raise CannotWrite(f"the store cannot be used: {found}.{way}")
    return root


def is_inside(place: Path, workspace: Workspace) -> bool:
    """Return whether a path, as written or resolved, is in the repository of a workspace."""
    root = workspace.root
    repository = next((p for p in (root, *root.parents) if (p / ".git").exists()), None)
    if repository is None:
        if not (workspace.has_recipes or (root / FILE).exists()):
            return False  # not a workspace, so not a repository either
        repository = root
    names = (Path(os.path.abspath(place)), Path(os.path.realpath(place)))
    return any(name.is_relative_to(p) for name in names for p in (repository, repository.resolve()))
