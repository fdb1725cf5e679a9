"""Content-addressed blobs and trees, and the action cache: what a step has made, by its key.

Everything is written under a temporary name, in a separate folder, and moved into place; an action
is recorded when its bytes are on the disk. An undamaged blob is never overwritten. A read-only
store can be restored from. Files leave the store as copies (or reflinks), never as hard links,
because a tool may write to its input. Only images of datasets are links.

Other users may write to a store: digests, names, sizes and kinds of files are checked here for
every caller. A file that does not match its name counts as absent: its step runs again.
"""

import contextlib
import errno
import os
import shutil
import stat
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import IO

from buildsys.digest import digest_bytes, digest_file, digest_stream
from buildsys.errors import CannotWrite, InternalError, shorten
from buildsys.execution.store.action_entry import ActionEntry, is_of_worker, read_entry, write_entry
from buildsys.execution.store.tree_index import Tree, encode_index, read_index
from buildsys.files import TEMPORARY, make_durable, open_regular, temporary_file
from buildsys.locks import locked
from buildsys.names import check_names
from buildsys.operating_system import share_blocks, start_writing
from buildsys.printing import guard, printed
from buildsys.records import is_digest
from buildsys.write_errors import writing

STAGING = ".import-"
"""Prefix of the folders of unfinished imports, beside the blobs."""
STAGING_LOCK = "import.lock"
"""A lock in such a folder, held while the import runs."""
REMOTES = "remotes"
"""Folder of entries from remote stores, with a subfolder for each."""
UNPUSHED = "unpushed"
"""Folder of marks: results to be uploaded to a remote store."""
_ABANDONED_SECONDS = 24 * 3600
"""A temporary file this old belongs to a killed run; no copy of a file takes a day."""
_NAMES = frozenset(
    {
        "actions",
        "blobs",
        "gc.lock",
        "locks",
        "lost+found",
        REMOTES,
        "tmp",
        UNPUSHED,
        "workspaces",
    }
)
"""All names in a store, beside folders of imports; the last one occurs where it is a mounted disk.
"""
_SETTLED_SECONDS = 60
"""Seconds after which the system has written an unchanged file to the disk."""


class Store:
    """Blobs by digest, trees as blobs that list blobs, actions by key."""

    is_shared = False
    """Whether results of other machines may be found through this store."""
    unread = ""
    """The URL of a remote store with a failed request, which may have what is missing; empty: none.
    """
    is_own = False
    """Whether its folder is made accessible to this user only."""
    trust = ""
    """The remote and keys whose results are used, see `trust_id`; empty: only this machine's."""
    trusts_workers = True
    """Whether results of a cluster's workers are used without a signature."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._swept = False
        self._fresh: dict[Path, None] = {}
        """Blobs, and their folders, that may not be on the disk yet."""
        self.print_line: Callable[[str], None] = _print
        """Prints a line about an event that matters to a person."""
        self._recording = threading.Lock()  # steps finish in threads
        self._noting = threading.Lock()

    def blob(self, digest: str) -> Path:
        """Return the path of a blob, present or not; to get checked bytes use `read` and `opened`.

        Raises FileNotFoundError for a text that is not a digest.
        """
        return self.root / "blobs" / _checked(digest)[:2] / digest

    def has(self, digest: str, tree: bool) -> bool:
        """Return whether an artifact's files are all here; for a tree, also in their sizes."""
        if not tree:
            return self.size(digest) is not None
        try:
            return all(self.size(file.digest) == file.size for file in self.index(digest))
        except (OSError, CannotWrite):
            return False

    def size(self, digest: str) -> int | None:
        """Return the size of a blob in bytes; None if it is not here."""
        return _size(self.blob(digest)) if is_digest(digest) else None

    def put_file(self, path: Path) -> str:
        """Add a file's content; returns its digest."""
        digest = digest_file(path)
        if not self.holds(digest, path):
            with self._new(self.blob(digest), path.stat().st_size) as temporary:
                with path.open("rb") as source:
                    _clone(source, temporary)
                seal(temporary)
        return digest

    def put_bytes(self, data: bytes) -> str:
        """Add bytes; returns their digest."""
        digest = digest_bytes(data)
        if not self.holds(digest):
            with self._new(self.blob(digest), len(data)) as temporary:
                temporary.write_bytes(data)
                seal(temporary)
        return digest

    def put_tree(self, folder: Path) -> str:
        """Add a folder's files; returns the digest of their index.

        Raises BadName for files that cannot be in one folder on every machine.
        """
        paths = {
            path.relative_to(folder).as_posix(): path
            for path in sorted(folder.rglob("*"))
            if path.is_file()
        }
        check_names(paths)
        return self.put_bytes(
            encode_index(
                (name, path.stat().st_size, self.put_file(path)) for name, path in paths.items()
            )
        )

    def take(self, path: Path, digest: str) -> None:
        """Move in a file that is on the store's disk, with bytes known to match `digest`.

        It counts as used now, however old it is.
        """
        with self._new(self.blob(digest), 0) as temporary:
            seal(path)
            use(path)
            path.replace(temporary)

    def holds(self, digest: str, source: Path | None = None) -> bool:
        """Return whether an undamaged blob is here; a damaged one is replaced when its file is
        added.

        `source`: the file to be added; a link to the blob was checked when it was made.
        """
        stored = self.blob(digest)
        try:
            linked = source is not None and source.samefile(stored)
            if not linked and not self._is_whole(digest):
                return False
            if abs(time.time() - stored.stat().st_ctime) < _SETTLED_SECONDS:
                self._note_fresh(stored)
        except OSError:
            return False
        return use(stored)

    def _is_whole(self, digest: str) -> bool:
        with open_regular(self.blob(digest)) as stored:
            return digest_stream(stored) == digest

    def index(self, digest: str) -> Tree:
        """Return a tree's files, sorted by path. Raises FileNotFoundError without a valid index."""
        try:
            return read_index(self.read(digest))
        except ValueError as error:
            raise FileNotFoundError(
                errno.ENOENT, "the store's copy is not the index of a tree", digest
            ) from error

    def possible_index(self, digest: str) -> Tree:
        """Return a tree's files if the blob's bytes are those of an index; otherwise none.

        For callers that keep blobs without knowing which are trees. Removes nothing; raises OSError
        for a file that may not be read.
        """
        try:
            with open_regular(self.blob(digest)) as stored:
                start = stored.read(2)  # most blobs are models and images: they are not read
                data = start + stored.read() if start == b"[[" else b""
        except FileNotFoundError:
            return ()
        try:
            return read_index(data) if data and digest_bytes(data) == digest else ()
        except ValueError:
            return ()

    def read(self, digest: str) -> bytes:
        """Return a blob's checked bytes. Raises FileNotFoundError if it is missing or damaged."""
        with self._open(digest) as stored:
            data = stored.read()
        if digest_bytes(data) != digest:
            raise self._damaged(digest)
        return data

    @contextlib.contextmanager
    def opened(self, digest: str) -> Iterator[tuple[IO[bytes], int]]:
        """Open a blob after checking it; yields the file and its size.

        Raises FileNotFoundError, like `read`.
        """
        with self._open(digest) as stored:
            if digest_stream(stored) != digest:
                raise self._damaged(digest)
            size = stored.tell()
            stored.seek(0)
            yield stored, size

    def fetch(
        self, digest: str, target: Path, tree: bool, linked: frozenset[str] = frozenset()
    ) -> None:
        """Copy an artifact out and check its bytes.

        Raises FileNotFoundError if it is missing or damaged. A blob whose bytes do not match its
        name is removed, so that its step runs again. Files of a tree with an ending in `linked`
        become symbolic links to their blobs. Never writes through a link: raises CannotWrite where
        one is in the way.
        """
        if not tree:
            with writing("a copy from the store", target.parent):
                target.parent.mkdir(parents=True, exist_ok=True)
            self._fetch_file(digest, target)
            return
        files = self.index(digest)
        with writing("a copy from the store", target.parent):
            target.parent.mkdir(parents=True, exist_ok=True)
            _make_folders(target, {file.name.rpartition("/")[0] for file in files})
        for file in files:
            if Path(file.name).suffix.lower() in linked:
                self._link(file.digest, target / file.name)
            else:
                self._fetch_file(file.digest, target / file.name)
            if self.size(file.digest) != file.size:
                message = f"the size of {shorten(file.name)} differs from the index"
                raise FileNotFoundError(errno.ENOENT, message, digest)

    def _fetch_file(self, digest: str, target: Path) -> None:
        with self._open(digest) as stored:
            size = os.fstat(stored.fileno()).st_size
            with (
                writing("a copy from the store", target.parent, size),
                temporary_file(target.parent) as temporary,
            ):
                _clone(stored, temporary)
                if digest_file(temporary) != digest:
                    raise self._damaged(digest)
                temporary.replace(target)

    def _link(self, digest: str, target: Path) -> None:
        """Link to a checked blob: datasets have many images, and they are only read."""
        stored = self.blob(digest)
        with (
            self.opened(digest),
            writing("a copy from the store", target.parent),
        ):
            target.symlink_to(stored.absolute())
        use(stored)

    def copy_into(self, other: "Store", digest: str, tree: bool) -> None:
        """Add an artifact to another store after checking its bytes.

        Raises FileNotFoundError, like `read`.
        """
        files = self.index(digest) if tree else ()
        for each in (digest, *(file.digest for file in files)):
            with self.opened(each) as (stored, size):
                if not other.holds(each):
                    with other._new(other.blob(each), size) as temporary:
                        _clone(stored, temporary)
                        seal(temporary)

    def record(self, entry: ActionEntry) -> None:
        """Record what an action made, when its bytes are on the disk.

        The newest record counts: an older one may name lost bytes.
        """
        data = write_entry(entry)
        try:
            read_entry(entry.key, data)
        except ValueError as error:
            raise InternalError(f"not an action entry: {error}: {entry}") from error
        with self._recording:
            self._settle()
            self.put_record(self._action(entry.key), data)
            self._settle()

    def put_record(self, path: Path, data: bytes) -> None:
        """Write or replace a file of the store that is not a blob. Raises CannotWrite."""
        with self._new(path, len(data)) as temporary:
            temporary.write_bytes(data)

    def _settle(self) -> None:
        """Return when all added files are on the disk under their names."""
        with self._noting:
            fresh, self._fresh = self._fresh, {}
        try:
            with writing("a result", self.root):
                make_durable(fresh)
        except BaseException:
            self._note_fresh(*fresh)
            raise

    def _note_fresh(self, *paths: Path) -> None:
        """Record files that were just added, and the folders that contain their names."""
        with self._noting:
            self._fresh |= {each: None for path in paths for each in (path, path.parent)}

    def recall(self, key: str) -> ActionEntry | None:
        """Return what an action made, or None."""
        try:
            entry = self.entry(key)
        except OSError:
            return None
        if entry is None or not self._counts(entry):
            return None
        use(self._action(key))
        return entry

    def _counts(self, own: ActionEntry) -> bool:
        """Return whether an entry of this machine may be used.

        Where keys are trusted, a worker's result needs a signature.
        """
        return self.trusts_workers or not is_of_worker(own)

    def entry(self, key: str) -> ActionEntry | None:
        """Like `recall`, but leaves no trace, and raises OSError for a file that may not be
        read.
        """
        try:
            with open_regular(self._action(key)) as stored:
                return read_entry(key, stored.read())
        except (FileNotFoundError, ValueError):
            return None

    def is_foreign(self, key: str, outputs: Iterable[tuple[str, str]]) -> bool:
        """Return whether outputs (name, digest) of an action come only from other machines, see
        `trust`.

        A worker's result does: it is used according to the keys trusted at the time.
        """
        with contextlib.suppress(OSError):
            own = self.entry(key)
            return own is not None and is_of_worker(own)
        return False

    def look_up(self, wanted: Iterable[tuple[str, str]]) -> None:
        """Prepare `recall` for some actions, (key, architecture) each: a shared store queries all
        at once.
        """

    def publish(self, entry: ActionEntry) -> None:
        """Offer a result that was made here to other machines; only a shared store does."""

    def finish_run(self, wait: bool = True) -> None:
        """End a run: return when the offered results are uploaded, or at once without `wait`."""

    @contextlib.contextmanager
    def alone(
        self, key: str, owner: str, print_line: Callable[[str], None] | None = None
    ) -> Iterator[None]:
        """Allow one run at a time for an action: another one waits, and `print_line` gets the owner's
        name.

        `owner`: this run's name, for those that wait. Raises CannotWrite if the store cannot be
        written, before the work starts instead of after it; without `print_line`, BlockingIOError
        instead of waiting.
        """
        busy = None if print_line is None else lambda who: print_line(who or "another run")
        with contextlib.ExitStack() as held:
            with writing("a result", self.root):
                held.enter_context(locked(self.folder("locks") / _checked(key), owner, busy))
            yield

    @contextlib.contextmanager
    def _new(self, target: Path, size: int) -> Iterator[Path]:
        """Yield a temporary file that becomes `target` when the block succeeds.

        Raises CannotWrite.
        """
        with writing("a result", self.root, size):
            folder = self.folder("tmp")
            if not self._swept:
                self._swept = True
                _sweep(folder)
            with temporary_file(folder) as temporary:
                yield temporary
                place = self.root
                for name in target.relative_to(self.root).parts[:-1]:
                    place = place / name
                    if _make_folder(place):
                        self._note_fresh(place)
                start_writing(temporary)
                _replace(temporary, target)
                self._note_fresh(target)

    def make(self) -> None:
        """Create the store's folder if it is missing. Raises OSError."""
        self.root.mkdir(0o700 if self.is_own else 0o777, parents=True, exist_ok=True)

    def folder(self, name: str) -> Path:
        """Return a folder of the store itself, created if missing.

        Raises CannotWrite for a link.
        """
        self.make()
        if _make_folder(self.root / name):
            self._note_fresh(self.root)
        return self.root / name

    def _open(self, digest: str) -> IO[bytes]:
        """Open a blob's file.

        Raises FileNotFoundError, and removes a link or a pipe in its place.
        """
        try:
            return open_regular(self.blob(digest))
        except FileNotFoundError:
            raise
        except OSError as error:
            if error.errno not in (errno.ELOOP, errno.EINVAL):
                raise
            raise self._damaged(digest) from error

    def _damaged(self, digest: str) -> Exception:
        """Remove a blob that does not match its name, and return the error about it."""
        path = self.blob(digest)
        try:
            if path.parent.is_symlink():
                raise NotADirectoryError(errno.ENOTDIR, "it is behind a link", str(path.parent))
            path.unlink(missing_ok=True)
        except OSError:
            return CannotWrite(
                f"{path} is damaged and cannot be replaced, because the store"
                " cannot be written. Use another store (BUILDSYS_STORE)."
            )
        return FileNotFoundError(f"the store's copy of {digest[:12]} was damaged; removed")

    def _action(self, key: str) -> Path:
        return self.root / "actions" / _checked(key)[:2] / f"{key}.json"


def _print(text: str) -> None:
    print(printed(text), file=guard(sys.stderr), flush=True)


def use(path: Path) -> bool:
    """Return whether a file of the store is here; updates its time for `buildsys gc`."""
    if _size(path) is None:
        return False
    with contextlib.suppress(OSError):  # a read-only store, or another user's file
        os.utime(path, follow_symlinks=False)
    return True


def _checked(digest: str) -> str:
    """Return a digest or a key unchanged, since it becomes part of a path.

    Raises FileNotFoundError for any other text.
    """
    if not is_digest(digest):
        message = "the name is not a digest, so the store cannot have it"
        raise FileNotFoundError(errno.ENOENT, message, shorten(digest))
    return digest


def _size(path: Path) -> int | None:
    """Return the size of a regular file in bytes; None for anything else."""
    try:
        found = path.lstat()
    except OSError:
        return None
    return found.st_size if stat.S_ISREG(found.st_mode) else None


def _sweep(folder: Path) -> None:
    """Remove the temporary files of killed runs."""
    for path in folder.glob(f"{TEMPORARY}*"):
        with contextlib.suppress(OSError):
            if abs(time.time() - path.lstat().st_mtime) > _ABANDONED_SECONDS:
                path.unlink()


def foreign_name(root: Path) -> str:
    """Return the first name in a folder, sorted, that does not belong to a store.

    Returns an empty text otherwise. Hidden names are ignored: file systems keep snapshots and open
    files under such names.
    """
    with contextlib.suppress(OSError):
        names = sorted(entry.name for entry in os.scandir(root))
        return next((n for n in names if n not in _NAMES and not n.startswith(".")), "")
    return ""


def _make_folders(root: Path, names: set[str]) -> None:
    """Create a folder, its parents and the named folders below it; existing ones must not be
    links.
    """
    _make_folder(root)
    made: set[str] = {""}
    for name in sorted(names):
        parts = name.split("/")
        for end in range(1, len(parts) + 1):
            above = "/".join(parts[:end])
            if above not in made:
                made.add(above)
                _make_folder(root / above)


def _make_folder(path: Path) -> bool:
    """Create a folder if it is missing; returns whether it was missing.

    Raises CannotWrite where something else has its name.
    """
    try:
        path.mkdir()
        return True
    except FileExistsError:
        if not stat.S_ISDIR(path.lstat().st_mode):
            raise CannotWrite(
                f"{path} must be a directory, but is a link or a file: buildsys does not write"
                " through links. Remove it, then run again."
            ) from None
        return False


def _replace(fresh: Path, target: Path) -> None:
    """Move a file into place; raises where a folder is in the way."""
    try:
        fresh.replace(target)
    except IsADirectoryError as error:
        message = f"{target} is a directory, but must be a file. Remove it, then run again."
        raise CannotWrite(message) from error


def _clone(reader: IO[bytes], target: Path) -> None:
    """Copy an open file, sharing blocks where the file system can."""
    with target.open("wb") as writer:
        if not share_blocks(reader, writer):
            shutil.copyfileobj(reader, writer, 1 << 20)


def seal(path: Path) -> None:
    """Remove write permission from a blob; the umask decides who may read it, as stores can be
    shared.
    """
    path.chmod(path.stat().st_mode & 0o444)
