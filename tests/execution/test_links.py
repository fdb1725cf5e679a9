"""Nothing is written or removed through links in the workspace, which may come with a commit."""

import os
import shutil
from pathlib import Path

import pytest

from buildsys.cli import main
from buildsys.doit.loader import run_builds
from buildsys.doit.run import RunOptions
from buildsys.errors import CannotWrite
from buildsys.execution.places import Workspace
from buildsys.execution.running.process import open_log
from buildsys.execution.session.session import Session
from buildsys.execution.session.workspace_lock import exclusive
from buildsys.files import refuse_links
from tests.conftest import Build, StandIn, no_environment
from tests.damage import snapshot

IN_BUILD = ("build", "build/tags", "build/tags/xiao-esp32s3", "build/report", "build/summary.json")
IN_STATE = (
    ".buildsys",
    ".buildsys/scratch",
    ".buildsys/published",
)
FILES = (
    ".buildsys/state.sqlite",
    ".buildsys/lock",
    ".buildsys/settled.json",
    ".buildsys/published/tags@xiao-esp32s3.json",
)


@pytest.fixture
def foreign(tmp_path: Path) -> Path:
    """A folder outside the workspace, with files and an empty file."""
    folder = tmp_path / "foreign"
    for name in ("precious.txt", "host/precious.txt", "data/files/precious.txt", "empty"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("precious" if name != "empty" else "")
    return folder


def put_link(place: Path, target: Path | str) -> None:
    """Replace what is at a path with a link."""
    if place.is_dir() and not place.is_symlink():
        shutil.rmtree(place)
    place.unlink(missing_ok=True)
    place.parent.mkdir(parents=True, exist_ok=True)
    place.symlink_to(target)


def shown(name: str, capsys: pytest.CaptureFixture[str]) -> str:
    """The output, which must name the link and what to do."""
    text = "".join(capsys.readouterr())
    assert f"{name} is a symbolic link to " in text
    assert "Remove the link" in text
    return text


@pytest.mark.parametrize("name", [*IN_BUILD, *IN_STATE])
@pytest.mark.usefixtures("built")
def test_a_run_leaves_what_a_link_in_its_folders_leads_to(
    workspace: Path, foreign: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """A run does not replace, empty or remove files behind a link in its folders."""
    put_link(workspace / name, foreign / "empty" if name.endswith(".json") else foreign)
    before = snapshot(foreign)
    shutil.rmtree(workspace / "build" / "tags", ignore_errors=True) if name in IN_STATE else None
    try:
        code = run_builds(workspace, [], 1, RunOptions())
    except CannotWrite as error:
        code = 1
        print(error)
    assert snapshot(foreign) == before
    assert bool(code) == (name != "build/report")  # the report is not the result of a build
    if code:
        shown(name, capsys)
    assert (workspace / name).is_symlink()


@pytest.mark.parametrize("name", FILES)
@pytest.mark.usefixtures("built")
def test_a_run_leaves_what_a_link_in_the_place_of_a_record_leads_to(
    workspace: Path, foreign: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """A link in the place of a record is replaced, in the place of a lock refused."""
    put_link(workspace / name, foreign / "empty")
    before = snapshot(foreign)
    code = run_builds(workspace, [], 1, RunOptions())
    assert snapshot(foreign) == before
    assert bool(code) == (name == ".buildsys/lock")
    assert (workspace / name).is_symlink() == bool(code)
    capsys.readouterr()


@pytest.mark.parametrize("target", ["/", "nowhere", "tags"])
@pytest.mark.usefixtures("built")
def test_a_link_to_the_root_to_nothing_or_to_itself_is_named(
    workspace: Path, target: str, build: Build, capsys: pytest.CaptureFixture[str]
) -> None:
    """A link to the root, to nothing or to itself is reported; other recipes are built."""
    put_link(workspace / "build" / "tags", target)
    build()
    shown("build/tags", capsys)


@pytest.mark.parametrize(
    "words",
    [("schema",), ("init",), ("gc", "--dry-run"), ("report",), ("plan",), ("check", "--data")],
    ids=lambda words: words[0],
)
def test_commands_leave_what_the_link_of_their_memory_leads_to(
    workspace: Path, foreign: Path, words: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    """Other commands that write into .buildsys do not write through a link, either."""
    put_link(workspace / ".buildsys", foreign)
    before = snapshot(foreign)
    assert main(["-C", str(workspace), *words]) == 1
    assert snapshot(foreign) == before
    shown(".buildsys", capsys)


@pytest.mark.usefixtures("built")
def test_clean_leaves_what_a_link_leads_to(workspace: Path, foreign: Path, tools: StandIn) -> None:
    """`doit clean` removes nothing behind a link."""
    put_link(workspace / "build" / "tags", foreign)
    before = snapshot(foreign)
    session = Session(workspace, tools, no_environment)
    with pytest.raises(CannotWrite, match="build/tags is a symbolic link"):
        session.publisher.clean("tags@host")
    session.close()
    assert snapshot(foreign) == before


def test_a_log_replaces_a_link_of_its_name(workspace: Path, foreign: Path, build: Build) -> None:
    """A log replaces a link with its name; a commit's author can predict the names of logs."""
    build()
    logs = list((workspace / ".buildsys" / "logs").iterdir())
    for log in logs:
        put_link(log, foreign / "precious.txt")
    before = snapshot(foreign)
    for log in logs:
        open_log(log).close()
    assert snapshot(foreign) == before
    assert not any(log.is_symlink() for log in logs)


@pytest.mark.usefixtures("built")
def test_a_state_that_was_not_made_here_is_begun_anew(
    workspace: Path, build: Build, capsys: pytest.CaptureFixture[str]
) -> None:
    """A state from another machine is discarded: it could name any result or hold a partial
    training.
    """
    copy = workspace.with_name("copy")
    shutil.copytree(workspace, copy, symlinks=True)
    (copy / ".buildsys" / "scratch" / "half").mkdir(parents=True)
    assert build() == []
    capsys.readouterr()
    Workspace(copy).check_own()
    said = capsys.readouterr().err
    assert said.startswith(".buildsys was not made here: it came with a commit, as a copy or from")
    assert {path.name for path in (copy / ".buildsys").iterdir()} == {"before", "made-here"}
    assert (copy / ".buildsys" / "before" / "scratch" / "half").is_dir()
    Workspace(copy).check_own()
    assert not capsys.readouterr().err


def test_a_state_that_another_run_works_in_stays(
    workspace: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A state that another run uses, of another user or HOME, is not discarded."""
    with exclusive(Workspace(workspace)):
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "other"))
        with pytest.raises(CannotWrite, match="another run works in it"):
            Workspace(workspace).check_own()
    assert not (workspace / ".buildsys" / "before").exists()


@pytest.mark.usefixtures("built")
def test_a_workspace_that_moves_keeps_its_state(workspace: Path) -> None:
    """A moved workspace keeps its state, including an interrupted training."""
    moved = workspace.rename(workspace.with_name("moved"))
    Workspace(moved).check_own()
    assert (moved / ".buildsys" / "state.sqlite").exists()


@pytest.mark.parametrize("name", ["recipes", "recipes/first.yaml"])
def test_init_and_new_write_no_recipe_through_a_link(
    tmp_path: Path, foreign: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """`init` and `new` do not create a file through a link."""
    root = tmp_path / "place"
    root.mkdir()
    put_link(root / name, foreign)
    before = snapshot(foreign)
    main(["-C", str(root), "init"])
    main(["-C", str(root), "new", "mine"])
    assert snapshot(foreign) == before
    capsys.readouterr()


def test_links_outside_the_workspace_are_followed(tmp_path: Path) -> None:
    """Links above the workspace's root are allowed; only paths below it are checked."""
    (tmp_path / "real" / "build").mkdir(parents=True)
    (tmp_path / "link").symlink_to("real")
    refuse_links(tmp_path / "link", tmp_path / "link" / "build" / "tags")
    Workspace(tmp_path / "link").check_own()
    assert os.path.islink(tmp_path / "link")


@pytest.mark.parametrize(
    "name",
    [
        "recipes/x.yaml",
        "buildsys.yaml",
        "buildsys.lock",
        "baselines.json",
        "measurements/tags@xiao-esp32s3.json",
    ],
)
@pytest.mark.usefixtures("built")
def test_no_message_quotes_a_file_that_a_link_leads_to(
    workspace: Path, tmp_path: Path, name: str, capfd: pytest.CaptureFixture[str]
) -> None:
    """No message quotes the content of a file behind a link, since others can read a CI log."""
    secret = tmp_path / "token.env"
    secret.write_text("API_TOKEN=s3cr3t\nSECOND: line\n")
    place = workspace / name
    place.unlink(missing_ok=True)
    place.parent.mkdir(exist_ok=True)
    place.symlink_to(secret)
    for command in ("check", "plan", "build", "report"):
        main(["-C", str(workspace), command])
    said = "".join(capfd.readouterr())
    assert "s3cr3t" not in said
    assert "SECOND" not in said
    assert "this is a symbolic link that leads out of the workspace" in said
    assert secret.read_text().startswith("API_TOKEN")
