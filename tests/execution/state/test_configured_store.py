"""Which store a workspace uses, and which it refuses."""

from pathlib import Path

import pytest

from buildsys.errors import CannotWrite, InputError
from buildsys.execution.places import Workspace
from buildsys.execution.state.configured_store import default_store


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    """A workspace in a folder of a repository, and nothing in the environment."""
    monkeypatch.delenv("BUILDSYS_STORE")
    (tmp_path / "repository" / ".git").mkdir(parents=True)
    (tmp_path / "repository" / "vision").mkdir()
    return Workspace(tmp_path / "repository" / "vision")


@pytest.mark.parametrize("place", ["results", ".", "../results", "{root}/a/../b", "link"])
def test_a_store_in_the_repository_is_refused(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    """What a commit put there would be restored as what was made; a link is no way in."""
    (workspace.root.parent / "inside").mkdir()
    (workspace.root / "link").symlink_to(workspace.root.parent / "inside")
    place = place.replace("{root}", str(workspace.root))
    (workspace.root / "buildsys.yaml").write_text(f"datasets: {{}}\nstore: {place}\n")
    with pytest.raises(InputError) as error:
        default_store(workspace)
    assert str(error.value).splitlines()[:2] == [
        "buildsys.yaml:2:8: error: the store would lie in the repository, where a commit could fill it",
        f"    store: {place}",
    ]
    monkeypatch.setenv("BUILDSYS_STORE", str(workspace.root / place))
    with pytest.raises(CannotWrite, match="the store would lie in the repo"):
        default_store(workspace)


def test_a_store_beside_the_repository_is_used(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Relative to the workspace; the environment counts before the file."""
    (workspace.root / "buildsys.yaml").write_text("store: ../../results\n")
    outside = workspace.root.parent.parent
    assert default_store(workspace).root.resolve() == outside / "results"
    monkeypatch.setenv("BUILDSYS_STORE", str(outside / "other"))
    assert default_store(workspace).root == outside / "other"


def test_a_folder_of_other_things_is_no_store(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A pull request could name the home folder, whose `tmp` would be cleaned up."""
    home = tmp_path / "home"
    (home / "tmp").mkdir(parents=True)
    (home / "thesis.tex").touch()
    monkeypatch.setenv("HOME", str(home))
    (workspace.root / "buildsys.yaml").write_text('store: "~"\n')
    with pytest.raises(InputError) as error:
        default_store(workspace)
    assert str(error.value).startswith(
        "buildsys.yaml:1:8: error: this folder holds other things than a store (`thesis.tex`)"
    )
    monkeypatch.setenv("BUILDSYS_STORE", str(home))
    with pytest.raises(CannotWrite, match="this folder holds other things"):
        default_store(workspace)
    (home / "thesis.tex").rename(home / ".snapshot")
    assert default_store(workspace).root == home


def test_a_folder_that_is_no_workspace_may_hold_the_store(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There is no repository that it could lie in; with recipes there is."""
    monkeypatch.setenv("BUILDSYS_STORE", str(tmp_path / "store"))
    assert default_store(Workspace(tmp_path)).root == tmp_path / "store"
    (tmp_path / "recipes").mkdir()
    with pytest.raises(CannotWrite, match="in the repository"):
        default_store(Workspace(tmp_path))
