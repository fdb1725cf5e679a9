"""Output paths from users: an unusable one is one sentence and stays unchanged."""

import os
import stat
from pathlib import Path

import pytest

from buildsys.cli import main
from buildsys.errors import BuildsysError, CannotWrite, InputError
from buildsys.operations.destinations import find_file, find_folder, is_empty, placing
from tests.operations import golden

LONG = "n" * 300


@pytest.fixture
def odd(tmp_path: Path) -> Path:
    """A folder with unusual files."""
    (tmp_path / "file").write_text("mine")
    (tmp_path / "dangling").symlink_to("nowhere")
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    return tmp_path


def test_what_can_be_no_place_is_reported(odd: Path) -> None:
    """A path that cannot be written to is one sentence, and is not changed."""
    said = []
    shared = ("dangling", "dangling/x", "loop", "loop/x", "file/x", LONG, f"absent/{LONG}", "pipe")
    for find, names in ((find_folder, (*shared, "file")), (find_file, (*shared, "folder", "no/x"))):
        for name in names:
            with pytest.raises(InputError) as caught:
                find(odd / name)
            said.append(str(caught.value).replace(LONG, "LONG"))
    golden.check("destinations", "\n".join(said) + "\n", odd)
    with pytest.raises(InputError, match="is a device or a pipe, not a file"):
        find_file(Path("/dev/null"))
    assert stat.S_ISFIFO((odd / "pipe").stat().st_mode)


def test_what_can_be_one_is_found(odd: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Links and `.` are resolved."""
    (odd / "link").symlink_to("folder")
    assert find_folder(odd / "link") == (odd / "folder").resolve()
    assert find_folder(odd / "link" / "deep" / "er") == (odd / "folder" / "deep" / "er").resolve()
    assert find_file(odd / ("n" * 250)).name == "n" * 250
    monkeypatch.chdir(odd / "folder")
    assert find_folder(Path()) == (odd / "folder").resolve()
    assert is_empty(Path())
    assert not is_empty(odd)


def test_whatever_the_system_refuses_is_a_sentence() -> None:
    """Any error of the system, such as in /proc, is one sentence."""
    place = Path("/proc/x")
    with pytest.raises(CannotWrite, match=r"^a thing cannot be written"), placing("a thing", place):
        place.mkdir()
    with pytest.raises(BuildsysError), placing("a thing", place):
        raise InputError


@pytest.mark.usefixtures("built")
def test_commands_look_at_the_place_first(
    workspace: Path, odd: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Commands check the output path before any work; an archive is written through a link, which
    stays.
    """
    export = ["-C", str(workspace), "store", "export", "*", "-o"]
    predict = ["-C", str(workspace), "predict", "tags@xiao-esp32s3"]
    picture = str(workspace / "tags" / "images" / "val" / "0.jpg")
    for name in ("dangling", "loop/x", LONG, "pipe", "file/x"):
        capsys.readouterr()
        assert main([*export, str(odd / name)]) == 2
        assert main([*predict, picture, "--out", str(odd / name)]) == 2
        assert capsys.readouterr().err.count("help: name another place") == 2
    (odd / "link.tar").symlink_to("file")
    assert main([*export, str(odd / "link.tar")]) == 0
    assert (odd / "link.tar").is_symlink()
    assert (odd / "file").stat().st_size > 10_000
    assert not list(odd.glob(".*"))
