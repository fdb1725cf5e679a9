"""Paths of the user's cache and of the workspace's own folders."""

import contextlib
import os
from dataclasses import dataclass
from pathlib import Path

from buildsys.errors import CannotWrite
from buildsys.execution import ownership
from buildsys.files import refuse_links
from buildsys.write_errors import obstacle


def cache_root() -> Path:
    """Return the user's cache directory for buildsys; follows XDG_CACHE_HOME.

    Raises CannotWrite where it is not an absolute path, or the home directory does not exist.
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
    place = absolute(home, "HOME")
    if not os.path.lexists(place):  # root could create it, and would fill the system's disk
        raise CannotWrite(f"HOME is {place}, which does not exist. Set HOME or XDG_CACHE_HOME.")
    return place / ".cache" / "buildsys"


def config_root() -> Path:
    """Return the user's configuration directory for buildsys; follows XDG_CONFIG_HOME.

    Raises CannotWrite for a relative path.
    """
    base = os.environ.get("XDG_CONFIG_HOME")
    if base:
        return absolute(base, "XDG_CONFIG_HOME") / "buildsys"
    return absolute(os.path.expanduser("~"), "HOME") / ".config" / "buildsys"


def absolute(place: str, variable: str) -> Path:
    """Return the path in an environment variable. Raises CannotWrite for a relative one."""
    if os.path.isabs(place):
        return Path(place)
    raise CannotWrite(
        f"{variable} is `{place}`, which is not an absolute path: it would depend on the folder where a"
        f" command runs. Set it to an absolute path{'' if variable == 'HOME' else ', or unset it'}."
    )


def datasets_root() -> Path:
    """Return where archives of datasets are unpacked, each in a folder named by its sha256."""
    return cache_root() / "datasets"


_FOLDERS = ("logs", "plans", "published", "report", "scratch")
"""Subfolders of .buildsys."""


@dataclass(frozen=True)
class Workspace:
    """A repository with recipes, and the folders that buildsys keeps in it."""

    root: Path

    @property
    def has_recipes(self) -> bool:
        """Return whether this is the root of a workspace: whether it has a folder of recipes."""
        return (self.root / "recipes").is_dir()

    def hint_without_recipes(self, otherwise: str) -> str:
        """Return what to do where a command finds no recipe; often it was run below the root."""
        outer = next((p for p in self.root.parents if Workspace(p).has_recipes), None)
        if outer is None or self.has_recipes:
            return otherwise
        return f"this folder is inside the workspace {outer}: change to it, or use `-C {outer}`"

    @property
    def state(self) -> Path:
        """.buildsys: may be deleted at any time; results are restored from the store."""
        return self.root / ".buildsys"

    @property
    def plans(self) -> Path:
        """Plans by recipe: a cache."""
        return self.state / "plans"

    @property
    def lock(self) -> Path:
        """buildsys.lock: recorded facts and trainings; committed."""
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
        """The packages to ship."""
        return self.root / "build"

    def package(self, build: str) -> Path:
        """Return the folder of a build's package: build/<recipe>/<target>."""
        recipe, target = build.split("@")
        return self.build / recipe / target

    def own(self, path: Path) -> Path:
        """Return a path below the root that may be written, replaced or removed.

        Raises CannotWrite where it, or a folder on its way, is a symbolic link.
        """
        refuse_links(self.root, path)
        return path

    def check_folders(self) -> None:
        """Raise CannotWrite if build/, .buildsys or a folder directly in it is a link or not a
        directory.

        Links in the place of files are handled by the code that writes them.
        """
        for folder in (self.build, self.state):
            _refuse_obstacle(self.own(folder))
        with contextlib.suppress(FileNotFoundError, NotADirectoryError, PermissionError):
            with os.scandir(self.state) as entries:
                found = [entry for entry in entries if not entry.is_dir(follow_symlinks=False)]
            for entry in sorted(found, key=lambda entry: entry.name):
                if entry.is_symlink() and not os.path.isfile(entry.path):
                    self.own(Path(entry.path))
                if entry.name in _FOLDERS:
                    _refuse_obstacle(Path(entry.path))

    def check_own(self) -> None:
        """Like `check_folders`; a .buildsys that was not made here is set aside, see
        `ownership`.
        """
        self.check_folders()
        if self.state.is_dir() or self.has_recipes:
            self.claim()

    def claim(self) -> None:
        """Create .buildsys where it is missing or was not made here, see `ownership`."""
        ownership.claim(self.root, self.state, cache_root() / "secret")


def _refuse_obstacle(folder: Path) -> None:
    found = obstacle(folder)
    if found:
        raise CannotWrite(f"{found}. Move it away, then run again.")
