"""Content-addressed blobs and trees, and the action cache: what a step once made, by its key.

Everything is written under a temporary name and moved into place; a blob is never overwritten.
Files leave the store as copies (or reflinks), never as hard links: a tool that scribbles on its
input scribbles on its own copy.
"""

import contextlib
import json
import os
import secrets
import shutil
from pathlib import Path
from typing import Any

from buildsys.digest import digest_bytes, digest_file
from buildsys.engine.places import cache_root

_FICLONE = 0x40049409


def default_store() -> "Store":
    """The store of this user: BUILDSYS_STORE, else in the cache directory."""
    place = os.environ.get("BUILDSYS_STORE")
    return Store(Path(place) if place else cache_root() / "store")


class Store:
    """Blobs by digest, trees as blobs that list blobs, actions by key."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def blob(self, digest: str) -> Path:
        """Where a blob is, or would be."""
        return self.root / "blobs" / digest[:2] / digest

    def has(self, digest: str, tree: bool) -> bool:
        """Whether an artifact's bytes are all here."""
        if not self.blob(digest).is_file():
            return False
        try:
            return not tree or all(self.blob(entry[2]).is_file() for entry in self.index(digest))
        except FileNotFoundError:
            return False

    def put_file(self, path: Path) -> str:
        """Add a file's content; returns its digest."""
        digest = digest_file(path)
        target = self.blob(digest)
        if not use(target):
            target.parent.mkdir(parents=True, exist_ok=True)
            with _Temporary(target.parent) as temporary:
                clone(path, temporary)
                seal(temporary)
                temporary.replace(target)
        return digest

    def put_bytes(self, data: bytes) -> str:
        """Add bytes; returns their digest."""
        digest = digest_bytes(data)
        target = self.blob(digest)
        if not use(target):
            target.parent.mkdir(parents=True, exist_ok=True)
            with _Temporary(target.parent) as temporary:
                temporary.write_bytes(data)
                seal(temporary)
                temporary.replace(target)
        return digest

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
        data = self.blob(digest).read_bytes()
        if digest_bytes(data) != digest:
            raise self._damaged(digest)
        return [tuple(entry) for entry in json.loads(data)]

    def fetch(self, digest: str, target: Path, tree: bool) -> None:
        """Copy an artifact out and check its bytes; raises FileNotFoundError when it is not whole.

        A blob whose bytes do not match its name is removed, so that its step runs again.
        """
        if tree:
            target.mkdir(parents=True, exist_ok=True)
            for name, _, blob in self.index(digest):
                self.fetch(blob, target / name, tree=False)
            return
        target.parent.mkdir(parents=True, exist_ok=True)
        with _Temporary(target.parent) as temporary:
            clone(self.blob(digest), temporary)
            if digest_file(temporary) != digest:
                raise self._damaged(digest)
            temporary.chmod(0o644)
            temporary.replace(target)

    def record(self, key: str, entry: dict[str, Any]) -> None:
        """Remember what an action made. The newest record counts: an older one may name lost bytes."""
        target = self._action(key)
        target.parent.mkdir(parents=True, exist_ok=True)
        with _Temporary(target.parent) as temporary:
            temporary.write_text(json.dumps(entry, sort_keys=True), encoding="utf-8")
            temporary.replace(target)

    def recall(self, key: str) -> dict[str, Any] | None:
        """What an action made, or None."""
        try:
            entry = json.loads(self._action(key).read_bytes())
            use(self._action(key))
        except (OSError, ValueError):  # not here, damaged, or private to somebody else
            return None
        return entry if isinstance(entry, dict) else None

    def _damaged(self, digest: str) -> FileNotFoundError:
        self.blob(digest).unlink(missing_ok=True)
        return FileNotFoundError(f"the store's copy of {digest[:12]} was damaged; removed")

    def _action(self, key: str) -> Path:
        return self.root / "actions" / key[:2] / f"{key}.json"


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


class _Temporary:
    """A fresh name in a folder; whatever is still there at the end is removed."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / f".tmp-{secrets.token_hex(8)}"
        # not mkstemp, whose files are their owner's alone: others may share the store
        os.close(os.open(self.path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))

    def __enter__(self) -> Path:
        return self.path

    def __exit__(self, *_: object) -> None:
        self.path.unlink(missing_ok=True)
