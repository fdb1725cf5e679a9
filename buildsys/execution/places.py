"""Where things are kept: the user's cache, the workspace's own state."""

import contextlib
import os
import sys
from dataclasses import dataclass
from pathlib import Path

from buildsys.digest import digest_bytes
from buildsys.errors import CannotWrite
from buildsys.files import (
    read_regular,
    refuse_links,
    remove_folder,
    write_atomic,
    write_new,
    writing,
)

_MARK = "made-here"
"""In .buildsys: a digest of the folder's number on its disk and of the user's secret."""


def cache_root() -> Path:
    """The user's cache directory for buildsys; follows XDG_CACHE_HOME. Raises CannotWrite where no
    absolute path says where it is.
    """
    base = os.environ.get("XDG_CACHE_HOME")
    if base:
        return absolute(base, "XDG_CACHE_HOME") / "buildsys"
    home = os.environ.get("HOME")
    if home is None:
        try:
            home = str(Path.home())
        except RuntimeError as error:
            raise CannotWrite(f"{error}. Set HOME or XDG_CACHE_HOME.") from error
    return absolute(home, "HOME") / ".cache" / "buildsys"


def absolute(place: str, variable: str) -> Path:
    """The path that a variable of the environment holds. Raises CannotWrite for a relative one."""
    if os.path.isabs(place):
        return Path(place)
    raise CannotWrite(
        f"{variable} is `{place}`, which is no absolute path: it would mean another folder wherever a"
        f" command is run. Set it to an absolute path{'' if variable == 'HOME' else ', or unset it'}."
    )


def _secret() -> bytes:
    """What nobody else can know; empty where the user's cache cannot hold one."""
    place = cache_root() / "secret"
    with contextlib.suppress(OSError):
        with contextlib.suppress(FileNotFoundError):
            return read_regular(place)
        with contextlib.suppress(FileExistsError):
            write_new(place, os.urandom(32).hex(), mode=0o600)
        return read_regular(place)
    return b""


def datasets_root() -> Path:
    """Where archives of datasets are unpacked, each in a folder named by its sha256."""
    return cache_root() / "datasets"


@dataclass(frozen=True)
class Workspace:
    """A repository with recipes, and the folders that buildsys keeps in it."""

    root: Path

    @property
    def state(self) -> Path:
        """.buildsys: may be deleted at any moment; results come back from the store."""
        return self.root / ".buildsys"

    @property
    def plans(self) -> Path:
        """Plans by recipe: a cache."""
        return self.state / "plans"

    @property
    def lock(self) -> Path:
        """buildsys.lock: what was found and recorded; committed."""
        return self.root / "buildsys.lock"

    @property
    def scratch(self) -> Path:
        """Working folders of running and interrupted steps, by action key."""
        return self.state / "scratch"

    @property
    def logs(self) -> Path:
        """One log per action key."""
        return self.state / "logs"

    @property
    def build(self) -> Path:
        """What to ship."""
        return self.root / "build"

    def own(self, path: Path) -> Path:
        """A path below the root that may be written, replaced or removed.

        Raises CannotWrite where a symbolic link lies on its way, or is what it names.
        """
        refuse_links(self.root, path)
        return path

    def check_own(self) -> None:
        """Raise CannotWrite where build/, .buildsys or a folder directly in it is a symbolic link.

        Links in the place of files are their owners' affair: a record is replaced, a lock refused.
        What is in .buildsys is believed, and anybody can commit or copy such a folder: one that was
        not made here is removed, with a line that says so.
        """
        self.own(self.build)
        self.own(self.state)
        with contextlib.suppress(FileNotFoundError, NotADirectoryError, PermissionError):
            with os.scandir(self.state) as entries:
                links = [entry.path for entry in entries if entry.is_symlink()]
            for link in sorted(links):
                if not os.path.isfile(link):
                    self.own(Path(link))
        if self.state.is_dir() or (self.root / "recipes").is_dir():
            self._claim()

    def _claim(self) -> None:
        """Make sure that .buildsys was made here, by this user. Raises CannotWrite."""
        import fcntl

        if self._is_claimed():
            return
        with contextlib.suppress(FileNotFoundError), contextlib.ExitStack() as opened:
            root = os.open(self.root, os.O_RDONLY)
            opened.callback(os.close, root)
            with contextlib.suppress(OSError):  # a file system without locks
                fcntl.flock(root, fcntl.LOCK_EX)
            if self._is_claimed():  # by another run, while this one waited
                return
            if self.state.is_dir() and any(self.state.iterdir()):
                with writing(".buildsys, which was not made here,", self.root):
                    remove_folder(self.state)
                text = ".buildsys was not made here, but came with a commit or as a copy: it is begun anew"
                print(f"{text}; results come back from the store", file=sys.stderr, flush=True)
            with contextlib.suppress(OSError):  # where nothing can be written, nothing is kept
                self.state.mkdir(exist_ok=True)
                write_atomic(self.state / _MARK, self._mark())

    def _is_claimed(self) -> bool:
        with contextlib.suppress(OSError):
            return read_regular(self.state / _MARK) == self._mark().encode()
        return False

    def _mark(self) -> str:
        return digest_bytes(b"%s %d" % (_secret(), self.state.stat().st_ino))
