"""The digests of steps' code in the user's cache: used while no file of the package changes."""

from pathlib import Path

import pytest

from buildsys.execution.places import cache_root
from buildsys.execution.state.code_digest import code_digest
from buildsys.execution.state.kept_digests import keep, kept_digest
from tests.conftest import copy_package, forget_code

KEPT = "ab" * 32


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """A copy of the package, with a digest of one step that only the cache can give."""
    made = copy_package(tmp_path / "copy" / "buildsys")
    keep(made, {"gate": KEPT}, cache_root())
    forget_code()
    return made


def kept_files() -> list[Path]:
    """The files with digests."""
    return [path for path in (cache_root() / "code-digests").iterdir() if path.suffix == ".json"]


def test_a_later_process_uses_what_an_earlier_one_kept(package: Path) -> None:
    """A kept digest is not computed; a new one is added to it."""
    assert kept_digest("gate", package) == KEPT
    assert kept_digest("fit_memory", package) == code_digest("fit_memory", package)
    forget_code()
    assert kept_digest("gate", package) == KEPT


@pytest.mark.parametrize("name", ["steps/gate.py", "errors.py", "envs/evaluate/lock.txt"])
def test_a_change_of_any_file_ends_it(package: Path, name: str) -> None:
    """After an edit of the package everything is computed again, and kept in the same file."""
    with (package / name).open("a") as stream:
        stream.write("\n")
    assert kept_digest("gate", package) == code_digest("gate", package)
    assert len(kept_files()) == 1


def test_another_copy_of_the_package_has_its_own(package: Path, tmp_path: Path) -> None:
    """Two clones do not overwrite each other's digests."""
    other = copy_package(tmp_path / "other" / "buildsys")
    assert kept_digest("gate", other) == code_digest("gate", other)
    forget_code()
    assert kept_digest("gate", package) == KEPT


@pytest.mark.parametrize("text", ["", "{}", "rubbish"])
def test_a_damaged_file_is_not_used(package: Path, text: str) -> None:
    """It is replaced."""
    (path,) = kept_files()
    path.write_text(text)
    assert kept_digest("gate", package) == code_digest("gate", package)
    assert path.read_text() != text


def test_without_a_cache_directory_it_is_computed(
    package: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is not an error if the cache cannot be written."""
    monkeypatch.setenv("XDG_CACHE_HOME", "not/absolute")
    assert kept_digest("gate", package) == code_digest("gate", package)
    monkeypatch.setenv("XDG_CACHE_HOME", "/proc/nowhere")
    forget_code()
    assert kept_digest("gate", package) == code_digest("gate", package)
