"""Running the emulator, with a script in its place: success, crash, timeout; it is always ended."""

import os
import time
from pathlib import Path

import pytest

from buildsys.execution.tools.host_tools import find_qemu
from buildsys.steps.lib.firmware import emulator, inference_runner
from buildsys.steps.lib.runtime.progress import StepError

TELLS = "echo 'Operator 0: ethos-u'; echo '1 input tensor/s populated with 3 bytes'; sleep 600"
VERSION = "echo 'QEMU emulator version 7.2.22 (Debian 1:7.2+dfsg-7)'"


def install(folder: Path, script: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Install a stand-in qemu-system-arm as the only one in PATH."""
    program = folder / "qemu-system-arm"
    program.write_text(
        f'#!/bin/sh\necho $$ > "{folder}/pid"\necho "$@" > "{folder}/args"\n{script}\n'
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")


def boot(folder: Path, seconds: float = 60.0, model: str = "m.tflite") -> emulator.Session:
    """Run the emulator with files that are not opened."""
    kernel, file = folder / "k.axf", folder / model
    return emulator.boot(kernel, file, seconds, inference_runner.is_last, lambda line: None)


def test_the_machine_is_ended_after_the_last_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The emulator is ended after the last expected line, since firmware does not exit."""
    install(tmp_path, f'exec sh -c "{TELLS.replace("sleep", "exec sleep")}"', monkeypatch)
    session = boot(tmp_path)
    assert session.end == "complete"
    assert session.lines[0] == "Operator 0: ethos-u"
    assert not Path("/proc", (tmp_path / "pid").read_text().strip()).exists()


def test_a_machine_that_dies_leaves_its_last_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If the emulator dies, its last output is reported."""
    install(tmp_path, "printf 'cannot set up guest memory' >&2; exit 3", monkeypatch)
    session = boot(tmp_path)
    assert (session.end, session.code) == ("died", 3)
    assert session.lines == ("cannot set up guest memory",)


@pytest.mark.parametrize("script", ["exec sleep 600", "while true; do echo babble; done"])
def test_a_machine_that_comes_to_no_end_is_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str
) -> None:
    """An emulator that does not finish is ended, whether silent or printing."""
    install(tmp_path, script, monkeypatch)
    assert boot(tmp_path, seconds=0.5).end == "late"


def test_a_comma_in_a_path_is_no_option(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A comma in a path is escaped for QEMU."""
    install(tmp_path, TELLS.replace("sleep", "exec sleep"), monkeypatch)
    boot(tmp_path, model="a,b.tflite")
    assert "a,,b.tflite,addr=0x90000000" in (tmp_path / "args").read_text()


def test_without_an_emulator_the_step_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without an emulator the step says what to install."""
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(StepError, match="qemu-system-arm is not on this machine: install it"):
        emulator.version()


def test_planning_and_the_step_read_the_same_version(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Planning and the step read the same version."""
    install(tmp_path, VERSION, monkeypatch)
    assert find_qemu(str(tmp_path)) == emulator.version() == "7.2.22"


def test_no_emulator_a_broken_one_and_an_old_one_are_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A missing, broken or old emulator (before QEMU 6) counts as none."""
    assert find_qemu(str(tmp_path)) == ""
    for script in ("exit 1", VERSION.replace("7.2.22", "5.2.0")):
        install(tmp_path, script, monkeypatch)
        assert find_qemu(str(tmp_path)) == ""


def test_the_emulator_is_asked_once_for_each_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The version is queried once per file; an updated file is queried again."""
    install(tmp_path, VERSION, monkeypatch)
    assert find_qemu(str(tmp_path)) == "7.2.22"
    (tmp_path / "pid").unlink()
    assert find_qemu(str(tmp_path)) == "7.2.22"
    assert not (tmp_path / "pid").exists()
    install(tmp_path, VERSION.replace("7.2.22", "9.0"), monkeypatch)
    os.utime(tmp_path / "qemu-system-arm", ns=(time.time_ns(), time.time_ns() + 10**9))
    assert find_qemu(str(tmp_path)) == "9.0"
