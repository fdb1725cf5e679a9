"""The workspace's memory: results by action key, last keys by role, digests by stat.

One sqlite file in WAL mode, committed after every step: a killed run loses nothing that was
finished. Deleting it costs time, never correctness: the store and the files themselves remain. So a
damaged file is thrown away, whenever the damage shows.
"""

import contextlib
import json
import sqlite3
import sys
import threading
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from buildsys.files import writing
from buildsys.graph import StepResult

T = TypeVar("T")

_SETUP = """
PRAGMA journal_mode=WAL;
PRAGMA synchronous=NORMAL;
CREATE TABLE IF NOT EXISTS results (key TEXT PRIMARY KEY, outputs TEXT, seconds REAL, passed INT);
CREATE TABLE IF NOT EXISTS roles (role TEXT PRIMARY KEY, key TEXT, parts TEXT);
CREATE TABLE IF NOT EXISTS files (path TEXT PRIMARY KEY, stat TEXT, digest TEXT);
CREATE TABLE IF NOT EXISTS trees (name TEXT PRIMARY KEY, signature TEXT, digest TEXT);
CREATE TABLE IF NOT EXISTS durations (module TEXT PRIMARY KEY, seconds REAL);
CREATE TABLE IF NOT EXISTS published (build TEXT PRIMARY KEY, digest TEXT);
"""
_DAMAGE = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_ERROR)
"""Codes of a file that is no database, or not ours: another table layout is an SQLITE_ERROR."""


class Database:
    """Typed access to the tables; safe to use from several threads."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.RLock()
        with writing("the workspace's state", path.parent):
            path.parent.mkdir(parents=True, exist_ok=True)
        self._db = self._open()
        self._do(lambda db: db.executescript(_SETUP))

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    def _open(self) -> sqlite3.Connection:
        with writing("the workspace's state", self._path.parent):
            found = sqlite3.connect(
                self._path, check_same_thread=False, timeout=30, isolation_level=None
            )
        # a session that an error ends is not closed; Python 3.13 warns of a connection left open
        weakref.finalize(self, found.close)
        return found

    def _do(self, action: Callable[[sqlite3.Connection], T]) -> T:
        """Call an action; once more on a new file where the old one is damaged or gone.

        Raises CannotWrite.
        """
        with self._lock:
            try:
                return action(self._db)
            except sqlite3.Error as error:
                if self._db.in_transaction:
                    self._db.rollback()
                if _is_damage(error) or not self._path.exists():
                    self._begin_anew()
                with writing("the workspace's state", self._path.parent):
                    return action(self._db)

    def _begin_anew(self) -> None:
        text = f"{self._path} was damaged; begun anew: results come back from the store"
        print(text, file=sys.stderr, flush=True)
        self._db.close()
        with writing("the workspace's state", self._path.parent):
            for name in (self._path, Path(f"{self._path}-wal"), Path(f"{self._path}-shm")):
                name.unlink(missing_ok=True)
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._db = self._open()
            self._db.executescript(_SETUP)

    def result(self, key: str) -> StepResult | None:
        """What the action made here or was found to have made."""
        row = self._one("SELECT outputs, seconds, passed FROM results WHERE key = ?", key)
        if row is None:
            return None
        outputs: tuple[tuple[str, str], ...] = ()
        with contextlib.suppress(ValueError, TypeError):  # a damaged row is a result not known
            outputs = tuple((name, digest) for name, digest in json.loads(row[0]))
        return StepResult(outputs=outputs, seconds=row[1], passed=bool(row[2])) if outputs else None

    def record_result(self, key: str, result: StepResult) -> None:
        """Remember an action's result."""
        outputs = json.dumps(result.outputs)
        self._put("results", key, outputs, result.seconds, int(result.passed))

    def role(self, role: str) -> tuple[str, dict[str, Any]] | None:
        """The last finished (key, parts of the key) of `build-id/stage`."""
        row = self._one("SELECT key, parts FROM roles WHERE role = ?", role)
        return (row[0], json.loads(row[1])) if row else None

    def record_role(self, role: str, key: str, parts: dict[str, Any]) -> None:
        """Remember what a role was last made from, to explain the next change."""
        self._put("roles", role, key, json.dumps(parts, sort_keys=True))

    def last_keys(self) -> tuple[str, ...]:
        """The last finished key of every role, of builds that are no more as well."""
        with self._lock:
            return tuple(key for (key,) in self._db.execute("SELECT key FROM roles").fetchall())

    def file(self, path: str) -> tuple[str, str] | None:
        """(stat, digest) of a file when it was last read."""
        row = self._one("SELECT stat, digest FROM files WHERE path = ?", path)
        return (row[0], row[1]) if row else None

    def files_below(self, prefix: str) -> dict[str, tuple[str, str]]:
        """(stat, digest) of every known file below a folder."""
        query = "SELECT path, stat, digest FROM files WHERE path >= ? AND path < ?"
        rows = self._do(lambda db: db.execute(query, (prefix + "/", prefix + "0")).fetchall())
        return {path: (stat, digest) for path, stat, digest in rows}

    def record_files(self, rows: list[tuple[str, str, str]]) -> None:
        """Remember digests by stat."""

        def insert(db: sqlite3.Connection) -> None:
            db.execute("BEGIN")
            db.executemany("INSERT OR REPLACE INTO files VALUES (?, ?, ?)", rows)
            db.execute("COMMIT")

        self._do(insert)

    def tree(self, name: str) -> tuple[str, str] | None:
        """(signature of all stats, digest) of a tree when it was last walked."""
        row = self._one("SELECT signature, digest FROM trees WHERE name = ?", name)
        return (row[0], row[1]) if row else None

    def record_tree(self, name: str, signature: str, digest: str) -> None:
        """Remember a tree's digest by its signature."""
        self._put("trees", name, signature, digest)

    def duration(self, module: str) -> float | None:
        """Seconds that a step of this module last took."""
        row = self._one("SELECT seconds FROM durations WHERE module = ?", module)
        return float(row[0]) if row else None

    def record_duration(self, module: str, seconds: float) -> None:
        """Remember how long a step took."""
        self._put("durations", module, seconds)

    def published(self, build: str) -> str | None:
        """Digest of what `build/<id>/` was last filled with."""
        row = self._one("SELECT digest FROM published WHERE build = ?", build)
        return str(row[0]) if row else None

    def record_published(self, build: str, digest: str) -> None:
        """Remember what was put into `build/<id>/`; the empty digest for nothing."""
        self._put("published", build, digest)

    def _one(self, query: str, *values: object) -> Any:
        return self._do(lambda db: db.execute(query, values).fetchone())

    def _put(self, table: str, *values: object) -> None:
        query = f"INSERT OR REPLACE INTO {table} VALUES ({', '.join('?' * len(values))})"
        self._do(lambda db: db.execute(query, values))


def _is_damage(error: sqlite3.Error) -> bool:
    return getattr(error, "sqlite_errorcode", 0) & 0xFF in _DAMAGE
