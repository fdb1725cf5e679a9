"""A manually edited tool environment is detected by its files and made again."""

import base64
import hashlib
import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from buildsys.execution.tools import definitions, environment_record, environments
from buildsys.files import temporary_file


def install(place: Path) -> Path:
    """Make an environment with one package as an installer does; return the folder of packages."""
    packages = place / "lib" / "python3.11" / "site-packages"
    (packages / "tool").mkdir(parents=True)
    (packages / "tool-1.dist-info").mkdir()
    (packages / "tool" / "core.py").write_text("x = 1\n")
    digest = base64.urlsafe_b64encode(hashlib.sha256(b"x = 1\n").digest()).rstrip(b"=").decode()
    rows = f"tool/core.py,sha256={digest},6\ntool-1.dist-info/RECORD,,\n"
    (packages / "tool-1.dist-info" / "RECORD").write_text(rows)
    (packages / "_virtualenv.py").write_text("")
    (place / "bin").mkdir()
    (place / "bin" / "python").touch()
    return packages


@pytest.mark.parametrize("change", ["edit", "add", "remove"])
def test_a_change_is_named(tmp_path: Path, change: str) -> None:
    """A changed byte, an added file and a removed file are each named."""
    packages = install(tmp_path)
    environment_record.write(tmp_path)
    assert environment_record.find_change(tmp_path) == ""
    file = packages / "tool" / "core.py"
    if change == "edit":
        file.write_text("x = 2\n")
    elif change == "add":
        file = packages / "sitecustomize.py"
        file.write_text("")
    else:
        file.unlink()
    assert environment_record.find_change(tmp_path) == str(file.relative_to(tmp_path))


def test_what_is_the_same_in_another_time_is_no_change(tmp_path: Path) -> None:
    """Other file times, bytecode beside its source and our own markers are not changes."""
    packages = install(tmp_path)
    environment_record.write(tmp_path)
    os.utime(packages / "tool" / "core.py", (1, 1))
    (packages / "tool" / "__pycache__").mkdir()
    (packages / "tool" / "__pycache__" / "core.pyc").write_bytes(b"")
    (tmp_path / ".synced").write_text("lock")
    assert environment_record.find_change(tmp_path) == ""


def test_a_record_that_another_thread_writes_is_not_part_of_the_environment(
    tmp_path: Path,
) -> None:
    """Its unfinished file may be gone a moment later: a run ended with an unexpected error."""
    install(tmp_path)
    environment_record.write(tmp_path)
    recorded = (tmp_path / environment_record.RECORD).read_bytes()
    with temporary_file(tmp_path) as unfinished:
        assert unfinished.exists()
        environment_record.write(tmp_path)
    assert (tmp_path / environment_record.RECORD).read_bytes() == recorded


def test_an_edited_environment_is_made_again_with_a_line_that_says_so(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """An edited environment is made again with a message; if the installer's cache has the edit,
    too, the cache is not used.
    """
    monkeypatch.setattr(environments, "_seen", set[Path]())
    commands: list[list[str]] = []

    def uv(command: Sequence[str], extra: Mapping[str, str]) -> "subprocess.CompletedProcess[str]":
        commands.append(list(command))
        if command[1] == "venv":
            packages = install(Path(command[-1]))
            if len(commands) == 1:
                (packages / "tool" / "core.py").write_text("x = 2\n")
        return subprocess.CompletedProcess(command, 0, "", "")

    env = definitions.tool_env("vela-5.2")
    place = definitions.folder(env, "lock")
    install(place)
    (place / ".synced").write_text("lock\n")
    environment_record.write(place)
    (place / "lib" / "python3.11" / "site-packages" / "tool" / "core.py").write_text("x = 3\n")
    said: list[str] = []
    environments.ensure("vela-5.2", said.append, uv)
    assert said[0] == (
        "the tool environment vela-5.2 was changed since it was made"
        " (lib/python3.11/site-packages/tool/core.py): it is made again"
    )
    syncs = [command for command in commands if command[1] == "pip"]
    assert ["--no-cache" in command for command in syncs] == [False, True]
    assert environment_record.verify(place) == ""


def test_an_environment_that_is_made_again_is_no_error_for_who_checks_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """While one step removes and makes an edited environment, others wait for it."""

    def uv(command: Sequence[str], extra: Mapping[str, str]) -> "subprocess.CompletedProcess[str]":
        if command[1] == "venv":
            install(Path(command[-1]))
        return subprocess.CompletedProcess(command, 0, "", "")

    said: list[str] = []
    place = definitions.folder(definitions.tool_env("vela-5.2"), "lock")
    for _ in range(10):
        monkeypatch.setattr(environments, "_seen", set[Path]())
        shutil.rmtree(place, ignore_errors=True)
        for number in range(200):  # removing them takes a moment
            (install(place / f"more-{number}") / "more.py").touch()
        packages = install(place)
        environment_record.write(place)
        (place / ".synced").write_text("lock\n")
        (packages / "sitecustomize.py").touch()
        with ThreadPoolExecutor(4) as steps:
            found = [
                steps.submit(environments.ensure, "vela-5.2", said.append, uv) for _ in range(4)
            ]
        assert {each.result() for each in found} == {("lock", place / "bin" / "python")}
