"""The fingerprint of the installation: a run that does nothing has looked at every file of ours."""

from pathlib import Path

import pytest

from buildsys.execution.places import Workspace
from buildsys.execution.state import fingerprint
from tests.conftest import copy_package

EDITED = (
    "spec.py",
    "execution/packages/manifest.py",
    "operations/bundle.py",
    "report/vendor_figures.json",
    "steps/lib/heads/decoders.py",
    "templates/linux/detect.py",
    "envs/evaluate/lock.txt",
)


def test_an_edit_of_any_file_of_the_package_is_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a `git pull`, no old manifest stays because its code lies in a folder of folders."""
    package = copy_package(tmp_path / "buildsys")
    monkeypatch.setattr(fingerprint, "_PACKAGE", package)

    def look() -> str:
        """As a new process does."""
        fingerprint.package_state.cache_clear()
        return fingerprint.installation(Workspace(tmp_path))

    seen = {look()}
    for name in EDITED:
        path = package / name
        path.write_text(path.read_text() + "\n")
        seen.add(look())
    (package / "steps" / "lib" / "files" / "new.py").write_text("")
    seen.add(look())
    (package / "commands" / "plan.py").unlink()
    seen.add(look())
    assert len(seen) == len(EDITED) + 3


def test_an_edit_during_a_run_belongs_to_the_next_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At its end a run notes that nothing is left to do: by the code that it read at its beginning."""
    package = copy_package(tmp_path / "buildsys")
    monkeypatch.setattr(fingerprint, "_PACKAGE", package)
    before = fingerprint.installation(Workspace(tmp_path))
    (package / "spec.py").write_text("")
    assert fingerprint.installation(Workspace(tmp_path)) == before


def test_every_file_is_watched_and_no_bytecode(tmp_path: Path) -> None:
    """What Python writes beside our files changes with every start."""
    package = copy_package(tmp_path / "buildsys")
    files = {str(path) for path in package.rglob("*") if path.is_file()}
    (package / "steps" / "__pycache__").mkdir()
    (package / "steps" / "__pycache__" / "gate.pyc").write_bytes(b"")
    assert set(fingerprint.files_below(str(package))) == files
