"""Content-addressed blobs and trees, and the action cache: what a step once made, by its key.

Everything is written under a temporary name, in a folder for that alone, and moved into place; an
action is recorded when the bytes that it names are on the disk. A blob that is whole is never
overwritten. A store that cannot be written can still be restored from. Files leave the store as
copies (or reflinks), never as hard links: a tool that scribbles on its input scribbles on its own
copy. A dataset's images alone are links, as they are where a person brought them.

Others may write to a store, too: digests, names, sizes and kinds of files are checked here, whoever
calls. What is not what its name says counts as absent: its step runs again.
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
"""How folders of imports that are under way begin, beside the blobs."""
REMOTES = "remotes"
"""Folder of entries that came from remote stores, one folder for each of these."""
UNPUSHED = "unpushed"
"""Folder of marks: results that are to be put into a remote store."""
_ABANDONED_SECONDS = 24 * 3600
"""A temporary file this old belongs to a killed run; nobody copies one file for a day."""
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
"""All that lies in a store, beside folders of imports; the last one where it is a disk of its own."""
_SETTLED_SECONDS = 60
"""What was not touched for so long the system has written to the disk."""


class Store:
    """Blobs by digest, trees as blobs that list blobs, actions by key."""

    is_shared = False
    """Whether results of other machines may be found through it."""
    is_sure = True
    """Whether what was not found is nowhere: a remote store that has failed in this run may have it."""
    is_own = False
    """Whether its folder is made for this user alone."""
    trust = ""
    """Whose results count beside this machine's own, see `trust_id`; empty for nobody's."""
    trusts_workers = True
    """Whether what a worker of a cluster made counts here without anybody's signature."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._swept = False
        self._fresh: dict[Path, None] = {}
        """Blobs, and folders for them, that may not be on the disk yet."""
        self.say: Callable[[str], None] = _print
        """Gets a line where something happens that a person wants to know."""
        self._recording = threading.Lock()  # steps end in threads
        self._noting = threading.Lock()

    def blob(self, digest: str) -> Path:
        """Where a blob is, or would be; for its bytes use `read` and `opened`, which check them.

        Raises FileNotFoundError for what is no digest.
        """
        return self.root / "blobs" / _checked(digest)[:2] / digest

    def has(self, digest: str, tree: bool) -> bool:
        """Whether an artifact's files are all here, in their sizes where it is a tree."""
        if not tree:
            return self.size(digest) is not None
        try:
            return all(self.size(file.digest) == file.size for file in self.index(digest))
        except (OSError, CannotWrite):
            return False

    def size(self, digest: str) -> int | None:
        """Bytes of a blob; None where it is not here."""
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
        """Add a folder's files; returns the digest of their index. Raises BadName for files that
        cannot lie in one folder on every machine.
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
        """Move a file that lies on the store's disk in; its bytes are known to be those of `digest`."""
        with self._new(self.blob(digest), 0) as temporary:
            seal(path)
            path.replace(temporary)

    def holds(self, digest: str, source: Path | None = None) -> bool:
        """Whether a blob is here with the bytes that its name promises: a damaged one is replaced by
        the whole one that comes. `source`: what comes; a link to the blob was checked as it was made.
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
        """A tree's files, sorted by path. Raises FileNotFoundError where no whole index is here."""
        try:
            return read_index(self.read(digest))
        except ValueError as error:
            raise FileNotFoundError(
                errno.ENOENT, "the store's copy is not the index of a tree", digest
            ) from error

    def possible_index(self, digest: str) -> Tree:
        """The files of what is a tree's index by all that its bytes say; none of what is none.

        For those who keep things, and cannot know. Removes nothing; raises OSError for what may not
        be read.
        """
        try:
            with open_regular(self.blob(digest)) as stored:
                start = stored.read(2)  # most are models and images: they are not read
                data = start + stored.read() if start == b"[[" else b""
        except FileNotFoundError:
            return ()
        try:
            return read_index(data) if data and digest_bytes(data) == digest else ()
        except ValueError:
            return ()

    def read(self, digest: str) -> bytes:
        """A blob's bytes, checked; raises FileNotFoundError when they are not whole."""
        with self._open(digest) as stored:
            data = stored.read()
        if digest_bytes(data) != digest:
            raise self._damaged(digest)
        return data

    @contextlib.contextmanager
    def opened(self, digest: str) -> Iterator[tuple[IO[bytes], int]]:
        """A blob, open for reading, and its size; checked. Raises FileNotFoundError, as `read`."""
        with self._open(digest) as stored:
            if digest_stream(stored) != digest:
                raise self._damaged(digest)
            size = stored.tell()
            stored.seek(0)
            yield stored, size

    def fetch(
        self, digest: str, target: Path, tree: bool, linked: frozenset[str] = frozenset()
    ) -> None:
        """Copy an artifact out and check its bytes; raises FileNotFoundError when it is not whole.

        A blob whose bytes do not match its name is removed, so that its step runs again. Of a tree
        the files with an ending in `linked` are symbolic links to their blobs. Nothing is written
        through a link; raises CannotWrite where one is in the way.
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
        """A symbolic link to a blob whose bytes are checked: images are read, and many."""
        stored = self.blob(digest)
        with (
            self.opened(digest),
            writing("a copy from the store", target.parent),
        ):
            target.symlink_to(stored.absolute())
        use(stored)

    def copy_into(self, other: "Store", digest: str, tree: bool) -> None:
        """Add an artifact to another store, its bytes checked. Raises FileNotFoundError, as `read`."""
        files = self.index(digest) if tree else ()
        for each in (digest, *(file.digest for file in files)):
            with self.opened(each) as (stored, size):
                if not other.holds(each):
                    with other._new(other.blob(each), size) as temporary:
                        _clone(stored, temporary)
                        seal(temporary)

    def record(self, entry: ActionEntry) -> None:
        """Remember what an action made, when its bytes are on the disk. The newest record counts: an
        older one may name lost bytes.
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
        """Write a file of the store other than a blob, in place of an earlier one. Raises CannotWrite."""
        with self._new(path, len(data)) as temporary:
            temporary.write_bytes(data)

    def _settle(self) -> None:
        """Returns when everything that came is on the disk, under its name."""
        with self._noting:
            fresh, self._fresh = self._fresh, {}
        try:
            with writing("a result", self.root):
                make_durable(fresh)
        except BaseException:
            self._note_fresh(*fresh)
            raise

    def _note_fresh(self, *paths: Path) -> None:
        """What has just come, and the folders that have its name."""
        with self._noting:
            self._fresh |= {each: None for path in paths for each in (path, path.parent)}

    def recall(self, key: str) -> ActionEntry | None:
        """What an action made, or None."""
        try:
            entry = self.entry(key)
        except OSError:
            return None
        if entry is None or not self._counts(entry):
            return None
        use(self._action(key))
        return entry

    def _counts(self, own: ActionEntry) -> bool:
        """Whether an entry of this machine counts: where keys are trusted, what a worker made does not by
        itself.
        """
        return self.trusts_workers or not is_of_worker(own)

    def entry(self, key: str) -> ActionEntry | None:
        """`recall` that leaves no trace, and raises OSError for what may not be read."""
        try:
            with open_regular(self._action(key)) as stored:
                return read_entry(key, stored.read())
        except (FileNotFoundError, ValueError):
            return None

    def is_foreign(self, key: str, outputs: Iterable[tuple[str, str]]) -> bool:
        """Whether outputs (name, digest) of an action are known from elsewhere alone, see `trust`; what a
        worker made is, as it counts by the keys that are trusted at the time.
        """
        with contextlib.suppress(OSError):
            own = self.entry(key)
            return own is not None and is_of_worker(own)
        return False

    def look_up(self, wanted: Iterable[tuple[str, str]]) -> None:
        """Before `recall` is asked about some actions, (key, architecture) each: a store that is shared
        asks for all of them at once.
        """

    def publish(self, entry: ActionEntry) -> None:
        """A result was made here, and is of use to others: a store that is shared offers it to them."""

    def finish_run(self, wait: bool = True) -> None:
        """The end of a run: returns when others have what was offered, at once without `wait`."""

    @contextlib.contextmanager
    def alone(self, key: str, owner: str, say: Callable[[str], None]) -> Iterator[None]:
        """One run at a time for an action: a second one waits here, and is told for whom.

        `owner` says who we are, to those who wait. Raises CannotWrite when the store refuses: better
        before an hour of work than after it.
        """
        with contextlib.ExitStack() as held:
            with writing("a result", self.root):
                lock = self.folder("locks") / _checked(key)
                held.enter_context(locked(lock, owner, lambda who: say(who or "another run")))
            yield

    @contextlib.contextmanager
    def _new(self, target: Path, size: int) -> Iterator[Path]:
        """A temporary file that becomes `target` when the block ends well. Raises CannotWrite."""
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
        """Make its folder where it is missing. Raises OSError."""
        self.root.mkdir(0o700 if self.is_own else 0o777, parents=True, exist_ok=True)

    def folder(self, name: str) -> Path:
        """A folder of the store itself, made where it is missing. Raises CannotWrite for a link."""
        self.make()
        if _make_folder(self.root / name):
            self._note_fresh(self.root)
        return self.root / name

    def _open(self, digest: str) -> IO[bytes]:
        """A blob's file. Raises FileNotFoundError, and removes a link or a pipe in its place."""
        try:
            return open_regular(self.blob(digest))
        except FileNotFoundError:
            raise
        except OSError as error:
            if error.errno not in (errno.ELOOP, errno.EINVAL):
                raise
            raise self._damaged(digest) from error

    def _damaged(self, digest: str) -> Exception:
        """The error about a blob that is not what its name says; it is removed."""
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
    """Whether a file of the store is here; its time tells `buildsys gc` that somebody wants it."""
    if _size(path) is None:
        return False
    with contextlib.suppress(OSError):  # a store that is read-only, a file of somebody else
        os.utime(path, follow_symlinks=False)
    return True


def _checked(digest: str) -> str:
    """A digest or a key, which becomes part of a path. Raises FileNotFoundError for anything else."""
    if not is_digest(digest):
        message = "the name is not a digest, so the store cannot have it"
        raise FileNotFoundError(errno.ENOENT, message, shorten(digest))
    return digest


def _size(path: Path) -> int | None:
    """Bytes of a file; None of what is none, a link among it, or is not here."""
    try:
        found = path.lstat()
    except OSError:
        return None
    return found.st_size if stat.S_ISREG(found.st_mode) else None


def _sweep(folder: Path) -> None:
    """Remove what killed runs left behind."""
    for path in folder.glob(f"{TEMPORARY}*"):
        with contextlib.suppress(OSError):
            if abs(time.time() - path.lstat().st_mtime) > _ABANDONED_SECONDS:
                path.unlink()


def foreign_name(root: Path) -> str:
    """The first name in a folder, sorted, that no store has; empty for a store, or where one may be made.

    Hidden names count for nothing: file systems keep snapshots and open files under such.
    """
    with contextlib.suppress(OSError):
        names = sorted(entry.name for entry in os.scandir(root))
        return next((n for n in names if n not in _NAMES and not n.startswith(".")), "")
    return ""


def _make_folders(root: Path, names: set[str]) -> None:
    """A folder and those below it, each with those above it; those that are there are no links."""
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
    """A folder, made where it is missing; returns whether it was. Raises CannotWrite where something
    else has its name.
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
    """Give a file its name; a folder that somebody put there is in the way."""
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
    """Nobody writes to a blob; who may read it is the umask's affair: stores can be shared."""
    path.chmod(path.stat().st_mode & 0o444)
