"""Content-addressed blobs and trees, and the action cache: what a step once made, by its key.

Everything is written under a temporary name, in a folder for that alone, and moved into place: what
has its right name is whole. A blob is never overwritten. A store that cannot be written can still be
restored from. Files leave the store as copies (or reflinks), never as hard links: a tool that scribbles on its
input scribbles on its own copy. A dataset's images alone are links, as they are where a person brought them.
"""

import contextlib
import json
import os
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from buildsys.digest import digest_bytes, digest_file
from buildsys.errors import CannotWrite
from buildsys.files import locked, temporary_file, writing

_FICLONE = 0x40049409
_ABANDONED_SECONDS = 24 * 3600
"""A temporary file this old belongs to a killed run; nobody copies one file for a day."""


class Store:
    """Blobs by digest, trees as blobs that list blobs, actions by key."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._swept = False

    def blob(self, digest: str) -> Path:
        """Where a blob is, or would be."""
        return self.root / "blobs" / digest[:2] / digest

    def has(self, digest: str, tree: bool) -> bool:
        """Whether an artifact's bytes are all here."""
        if not self.blob(digest).is_file():
            return False
        try:
            return not tree or all(self.blob(entry[2]).is_file() for entry in self.index(digest))
        except (OSError, CannotWrite):
            return False

    def put_file(self, path: Path) -> str:
        """Add a file's content; returns its digest."""
        digest = digest_file(path)
        target = self.blob(digest)
        if not self._holds(digest, path):
            with self._new(target, path.stat().st_size) as temporary:
                clone(path, temporary)
                seal(temporary)
        return digest

    def put_bytes(self, data: bytes) -> str:
        """Add bytes; returns their digest."""
        digest = digest_bytes(data)
        target = self.blob(digest)
        if not self._holds(digest):
            with self._new(target, len(data)) as temporary:
                temporary.write_bytes(data)
                seal(temporary)
        return digest

    def _holds(self, digest: str, source: Path | None = None) -> bool:
        """Whether a blob is here with the bytes that its name promises: a damaged one is replaced by
        the whole one that comes. `source`: what comes; a link to the blob was checked as it was made.
        """
        stored = self.blob(digest)
        if not use(stored):
            return False
        return (source is not None and source.samefile(stored)) or digest_file(stored) == digest

    def put_tree(self, folder: Path) -> str:
        """Add a folder's files; returns the digest of their index."""
        entries = []
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                name = path.relative_to(folder).as_posix()
                entries.append((name, path.stat().st_size, self.put_file(path)))
        return self.put_bytes(encode_index(entries))

    def index(self, digest: str) -> list[tuple[str, int, str]]:
        """A tree's entries: relative path, size, digest; sorted by path. Raises FileNotFoundError."""
        return [tuple(entry) for entry in json.loads(self.read(digest))]

    def read(self, digest: str) -> bytes:
        """A blob's bytes, checked; raises FileNotFoundError when they are not whole."""
        data = self.blob(digest).read_bytes()
        if digest_bytes(data) != digest:
            raise self._damaged(digest)
        return data

    def fetch(
        self, digest: str, target: Path, tree: bool, linked: frozenset[str] = frozenset()
    ) -> None:
        """Copy an artifact out and check its bytes; raises FileNotFoundError when it is not whole.

        A blob whose bytes do not match its name is removed, so that its step runs again. Of a tree
        the files with an ending in `linked` are symbolic links to their blobs.
        """
        if tree:
            target.mkdir(parents=True, exist_ok=True)
            for name, _, blob in self.index(digest):
                if Path(name).suffix.lower() in linked:
                    self._link(blob, target / name)
                else:
                    self.fetch(blob, target / name, tree=False)
            return
        stored = self.blob(digest)
        size = stored.stat().st_size
        with writing(f"{target.name} from the store", target.parent, size):
            target.parent.mkdir(parents=True, exist_ok=True)
            with temporary_file(target.parent) as temporary:
                clone(stored, temporary)
                if digest_file(temporary) != digest:
                    raise self._damaged(digest)
                temporary.chmod(0o644)
                temporary.replace(target)

    def _link(self, digest: str, target: Path) -> None:
        """A symbolic link to a blob whose bytes are checked: images are read, and many."""
        stored = self.blob(digest)
        if digest_file(stored) != digest:
            raise self._damaged(digest)
        with writing(f"{target.name} from the store", target.parent):
            target.parent.mkdir(parents=True, exist_ok=True)
            target.symlink_to(stored.absolute())
        use(stored)

    def record(self, key: str, entry: dict[str, Any]) -> None:
        """Remember what an action made. The newest record counts: an older one may name lost bytes."""
        text = json.dumps(entry, sort_keys=True)
        with self._new(self._action(key), len(text)) as temporary:
            temporary.write_text(text, encoding="utf-8")

    def recall(self, key: str) -> dict[str, Any] | None:
        """What an action made, or None."""
        try:
            entry = json.loads(self._action(key).read_bytes())
            use(self._action(key))
        except (OSError, ValueError):
            return None
        return entry if isinstance(entry, dict) else None

    @contextlib.contextmanager
    def alone(self, key: str, owner: str, say: Callable[[str], None]) -> Iterator[None]:
        """One run at a time for an action: a second one waits here, and is told for whom.

        `owner` says who we are, to those who wait. Raises CannotWrite when the store refuses: better
        before an hour of work than after it.
        """
        with contextlib.ExitStack() as held:
            with writing("a result", self.root):
                lock = self.root / "locks" / key
                held.enter_context(locked(lock, owner, lambda who: say(who or "another run")))
            yield

    @contextlib.contextmanager
    def _new(self, target: Path, size: int) -> Iterator[Path]:
        """A temporary file that becomes `target` when the block ends well. Raises CannotWrite."""
        with writing("a result", self.root, size):
            folder = self.root / "tmp"
            folder.mkdir(parents=True, exist_ok=True)
            if not self._swept:
                self._swept = True
                _sweep(folder)
            with temporary_file(folder) as temporary:
                yield temporary
                target.parent.mkdir(parents=True, exist_ok=True)
                temporary.replace(target)

    def _damaged(self, digest: str) -> Exception:
        try:
            self.blob(digest).unlink(missing_ok=True)
        except OSError:
            return CannotWrite(
                f"{self.blob(digest)} is damaged and cannot be replaced, because the store"
                " cannot be written. Use another store (BUILDSYS_STORE)."
            )
        return FileNotFoundError(f"the store's copy of {digest[:12]} was damaged; removed")

    def _action(self, key: str) -> Path:
        return self.root / "actions" / key[:2] / f"{key}.json"


def _sweep(folder: Path) -> None:
    """Remove what killed runs left behind."""
    for path in folder.iterdir():
        with contextlib.suppress(OSError):
            if abs(time.time() - path.stat().st_mtime) > _ABANDONED_SECONDS:
                path.unlink()


def encode_index(entries: list[tuple[str, int, str]]) -> bytes:
    """A tree's index as bytes: its digest is the tree's."""
    return json.dumps(sorted(entries), separators=(",", ":")).encode()


def clone(source: Path, target: Path) -> None:
    """Copy a file, sharing blocks where the file system can (reflink)."""
    import fcntl

    with source.open("rb") as reader, target.open("wb") as writer:
        try:
            fcntl.ioctl(writer.fileno(), _FICLONE, reader.fileno())
        except OSError:
            shutil.copyfileobj(reader, writer, 1 << 20)


def use(path: Path) -> bool:
    """Whether a file of the store is here; its time tells `buildsys gc` that somebody wants it."""
    if not path.is_file():
        return False
    with contextlib.suppress(OSError):  # a store that is read-only, a file of somebody else
        os.utime(path)
    return True


def seal(path: Path) -> None:
    """Nobody writes to a blob; who may read it is the umask's affair: stores can be shared."""
    path.chmod(path.stat().st_mode & 0o444)
