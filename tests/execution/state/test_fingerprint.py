"""The fingerprint of the installation covers every file of the package."""

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
    """A change of any file of the package changes the fingerprint."""
    package = copy_package(tmp_path / "buildsys")
    monkeypatch.setattr(fingerprint, "_PACKAGE", package)

    def look() -> str:
        """Compute it like a new process."""
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
    """A run records the fingerprint of its start, so that later edits are noticed by the next run."""
    package = copy_package(tmp_path / "buildsys")
    monkeypatch.setattr(fingerprint, "_PACKAGE", package)
    before = fingerprint.installation(Workspace(tmp_path))
    (package / "spec.py").write_text("")
    assert fingerprint.installation(Workspace(tmp_path)) == before


def test_every_file_is_watched_and_no_bytecode(tmp_path: Path) -> None:
    """Every file is included except bytecode."""
    package = copy_package(tmp_path / "buildsys")
    files = {str(path) for path in package.rglob("*") if path.is_file()}
    (package / "steps" / "__pycache__").mkdir()
    (package / "steps" / "__pycache__" / "gate.pyc").write_bytes(b"")
    assert set(fingerprint.files_below(str(package))) == files
