"""The workspace's database: results by action key, last keys by role, digests by stat.

One sqlite file in WAL mode, committed after every step, so that a killed run loses no finished
step. Deleting it costs time, never correctness: the store and the files remain. A damaged file, or
one of another format, is therefore discarded as soon as it is noticed. Every row ends in its own
digest, so that a row that sqlite reads from a damaged page counts as absent.
"""

import hashlib
import os
import sqlite3
import stat
import sys
import threading
import weakref
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from buildsys.digest import canonical
from buildsys.errors import CannotWrite
from buildsys.graph import StepResult
from buildsys.printing import guard
from buildsys.records import Digest, is_digest
from buildsys.typed_json import parse
from buildsys.write_errors import writing

T = TypeVar("T")
Row = tuple[str | int | float | None, ...]

FORMAT = 1
"""The format of the tables, as `user_version`; databases from before it was introduced have 0."""
_SETUP = f"""
BEGIN IMMEDIATE;
CREATE TABLE IF NOT EXISTS results (key TEXT PRIMARY KEY, outputs TEXT, seconds REAL, passed INT, sum TEXT);
CREATE TABLE IF NOT EXISTS roles (key TEXT PRIMARY KEY, action_key TEXT, parts TEXT, sum TEXT);
CREATE TABLE IF NOT EXISTS files (key TEXT PRIMARY KEY, stat TEXT, digest TEXT, sum TEXT);
CREATE TABLE IF NOT EXISTS trees (key TEXT PRIMARY KEY, signature TEXT, digest TEXT, sum TEXT);
CREATE TABLE IF NOT EXISTS durations (key TEXT PRIMARY KEY, seconds REAL, sum TEXT);
PRAGMA user_version={FORMAT};
COMMIT;
"""
_VERSION = "SELECT user_version, (SELECT count(*) FROM sqlite_master) FROM pragma_user_version"
_OF_THE_DISK = (
    sqlite3.SQLITE_BUSY,
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_INTERRUPT,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_LOCKED,
    sqlite3.SQLITE_NOMEM,
    sqlite3.SQLITE_PERM,
    sqlite3.SQLITE_READONLY,
)
"""Error codes that may not mean damage: the file is checked. All other codes mean damage."""
_DAMAGED = "was damaged"


@dataclass(frozen=True, kw_only=True)
class Role:
    """The action key that `build-id/stage` was last made with, and its parts by name."""

    key: str
    parts: dict[str, object]


class Database:
    """Typed access to the tables; safe to use from several threads."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.RLock()
        with writing("the workspace's state", path.parent):
            path.parent.mkdir(parents=True, exist_ok=True)
        self._remove_foreign()
        self._db = self._open()
        self._do(_set_up)

    def close(self) -> None:
        """Close the database."""
        self._db.close()

    def _remove_foreign(self) -> None:
        """Remove what sqlite must not open: links, FIFOs, and a journal, which names other files to
        remove.
        """
        for name, ours in _names(self._path).items():
            try:
                mode = os.lstat(name).st_mode
            except OSError:
                continue
            if stat.S_ISDIR(mode):
                message = f"the workspace's state cannot be written: {name} is a folder; remove it"
                raise CannotWrite(message)
            if not (ours and stat.S_ISREG(mode)):
                with writing("the workspace's state", self._path.parent):
                    name.unlink(missing_ok=True)

    def _open(self) -> sqlite3.Connection:
        with writing("the workspace's state", self._path.parent):
            found = sqlite3.connect(
                self._path, check_same_thread=False, timeout=30, isolation_level=None
            )
        found.text_factory = _decode  # the default of sqlite3 raises for damaged text
        # a session that an error ends is not closed; Python 3.13 warns about an open connection
        weakref.finalize(self, found.close)
        return found

    def _do(self, action: Callable[[sqlite3.Connection], T]) -> T:
        """Call an action; again on a new file if the old one is damaged, missing or of another
        format.

        Raises CannotWrite.
        """
        with self._lock:
            try:
                return action(self._db)
            except (sqlite3.Error, MemoryError, _OtherFormat) as error:
                self._roll_back()
                if isinstance(error, _OtherFormat):
                    self._begin_anew(str(error))
                elif not self._path.exists() or self._is_damaged(error):
                    self._begin_anew(_DAMAGED)
                with writing("the workspace's state", self._path.parent):
                    return action(self._db)

    def _roll_back(self) -> None:
        try:
            if self._db.in_transaction:
                self._db.rollback()
        except sqlite3.Error:  # an error from the damage being handled
            return

    def _is_damaged(self, error: Exception) -> bool:
        code = _code(error)
        if code == sqlite3.SQLITE_READONLY:  # the header allows only newer versions to write
            return os.access(self._path, os.W_OK) and os.access(self._path.parent, os.W_OK)
        if code == sqlite3.SQLITE_IOERR_SHORT_READ or code & 0xFF not in _OF_THE_DISK:
            return True
        try:
            return bool(self._db.execute("PRAGMA quick_check(1)").fetchone() != ("ok",))
        except (sqlite3.Error, MemoryError) as other:
            return _code(other) & 0xFF not in _OF_THE_DISK

    def _begin_anew(self, why: str) -> None:
        text = f"{self._path} {why}; it was started again: results are restored from the store"
        print(text, file=guard(sys.stderr), flush=True)
        self._db.close()
        with writing("the workspace's state", self._path.parent):
            for name in _names(self._path):
                name.unlink(missing_ok=True)
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._db = self._open()
            _set_up(self._db)

    def result(self, key: str) -> StepResult | None:
        """Return the result of an action, made here or found; None if unknown."""
        row = self._get("results", key)
        if row is None:
            return None
        outputs, seconds, passed = row
        try:
            return StepResult(
                outputs=parse(tuple[tuple[str, Digest], ...], str(outputs)),
                seconds=float(seconds or 0),
                passed=bool(passed),
            )
        except ValueError:
            return None

    def record_result(self, key: str, result: StepResult) -> None:
        """Record an action's result."""
        outputs = canonical(result.outputs)
        self._put("results", key, outputs, float(result.seconds), int(result.passed))

    def has_foreign_results(self, key: str) -> bool:
        """Return whether an action has results of remote stores or workers, of whatever trust."""
        return bool(self._select("results", "WHERE key >= ? AND key < ?", (f"{key}.", f"{key}/")))

    def role(self, role: str) -> Role | None:
        """Return what `build-id/stage` was last made from."""
        row = self._get("roles", role)
        if row is None:
            return None
        key, parts = row
        try:
            return Role(key=str(key), parts=parse(dict[str, object], str(parts)))
        except ValueError:
            return None

    def record_role(self, role: str, key: str, parts: Mapping[str, object]) -> None:
        """Record what a role was last made from, to explain the next change."""
        self._put("roles", role, key, canonical(parts))

    def last_keys(self) -> tuple[str, ...]:
        """Return the last finished key of every role, including builds that no longer exist."""
        return tuple(str(row[1]) for row in self._select("roles", "", ()))

    def file(self, path: str) -> tuple[str, str] | None:
        """Return (stat, digest) of a file when it was last read."""
        return _known(self._get("files", path))

    def files_below(self, prefix: str) -> dict[str, tuple[str, str]]:
        """Return (stat, digest) of every recorded file below a folder."""
        rows = self._select("files", "WHERE key >= ? AND key < ?", (prefix + "/", prefix + "0"))
        whole = ((row[0], _known(row[1:])) for row in rows)
        return {str(path): known for path, known in whole if known is not None}

    def record_files(self, rows: list[tuple[str, str, str]]) -> None:
        """Record digests by stat."""
        summed = [(*row, _sum("files", row)) for row in rows]

        def insert(db: sqlite3.Connection) -> None:
            db.execute("BEGIN")
            db.executemany("INSERT OR REPLACE INTO files VALUES (?, ?, ?, ?)", summed)
            db.execute("COMMIT")

        self._do(insert)

    def tree(self, name: str) -> tuple[str, str] | None:
        """Return (signature of all stats, digest) of a tree when it was last walked."""
        return _known(self._get("trees", name))

    def record_tree(self, name: str, signature: str, digest: str) -> None:
        """Record a tree's digest by its signature."""
        self._put("trees", name, signature, digest)

    def duration(self, module: str) -> float | None:
        """Return the seconds that a step of this module last took."""
        row = self._get("durations", module)
        return row[0] if row and isinstance(row[0], float) else None

    def record_duration(self, module: str, seconds: float) -> None:
        """Record how long a step took."""
        self._put("durations", module, float(seconds))

    def _get(self, table: str, key: str) -> Row | None:
        """Return the values of a key; None if there is no row, or its digest does not match."""
        rows = self._select(table, "WHERE key = ?", (key,))
        return rows[0][1:] if rows and rows[0][0] == key else None

    def _select(self, table: str, where: str, values: tuple[str, ...]) -> list[Row]:
        """Return the rows with a matching digest, as key and values; remove the others."""
        query = f"SELECT rowid, * FROM {table} {where}"
        rows: list[Row] = self._do(lambda db: db.execute(query, values).fetchall())
        whole = [row[1:-1] for row in rows if _sum(table, row[1:-1]) == row[-1]]
        if len(whole) < len(rows):
            text = (
                f"{self._path}: damaged rows of `{table}` were removed; their content is made again"
            )
            print(text, file=guard(sys.stderr), flush=True)
            bad = [(row[0],) for row in rows if _sum(table, row[1:-1]) != row[-1]]
            remove = f"DELETE FROM {table} WHERE rowid = ?"
            self._do(lambda db: db.executemany(remove, bad))
        return whole

    def _put(self, table: str, *values: str | int | float) -> None:
        query = f"INSERT OR REPLACE INTO {table} VALUES ({', '.join('?' * (len(values) + 1))})"
        row = (*values, _sum(table, values))
        self._do(lambda db: db.execute(query, row))


class _OtherFormat(Exception):
    """The tables have the format of another version of buildsys."""


def _set_up(db: sqlite3.Connection) -> None:
    """Create the tables in a new file.

    Raises _OtherFormat if there are tables of another format.
    """
    db.execute("PRAGMA journal_mode=WAL")
    db.execute("PRAGMA synchronous=NORMAL")
    version, tables = db.execute(_VERSION).fetchone()
    if version == FORMAT:
        return
    if version or tables:
        raise _OtherFormat(f"has format {version}, but this version of buildsys writes {FORMAT}")
    db.executescript(_SETUP)


def _names(path: Path) -> dict[Path, bool]:
    """Return the files of a database, and whether sqlite may read them: WAL mode leaves no
    journal.
    """
    ends = {"": True, "-wal": True, "-shm": True, "-journal": False}
    return {Path(f"{path}{end}"): ours for end, ours in ends.items()}


def _sum(table: str, values: Row) -> str:
    """Return a row's digest: 16 digits are enough, and a run may check 100,000 of them."""
    text = repr((table, *values)).encode("utf-8", "surrogatepass")
    return hashlib.blake2b(text, digest_size=8).hexdigest()


def _known(row: Row | None) -> tuple[str, str] | None:
    """Return (stat or signature, digest) of a row."""
    if row is None:
        return None
    text, digest = row
    return (str(text), str(digest)) if is_digest(str(digest)) else None


def _code(error: Exception) -> int:
    """Return sqlite's extended error code; out of memory for an error without one."""
    code: int = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_NOMEM)
    return code


def _decode(text: bytes) -> str:
    return text.decode("utf-8", "replace")
