"""Tool environments: the user's settings apply, an incomplete one is never used."""

import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from buildsys.errors import ToolUnavailable
from buildsys.execution.tools import definitions, environments, host_facts, uv_commands


class Uv:
    """A stand-in for uv: records commands, makes the interpreter, fails at a given command."""

    def __init__(self, fail_at: str = "", stderr: str = "") -> None:
        self.commands: list[list[str]] = []
        self.settings: list[dict[str, str]] = []
        self.fail_at, self.stderr = fail_at, stderr

    def __call__(
        self, command: Sequence[str], extra: Mapping[str, str]
    ) -> "subprocess.CompletedProcess[str]":
        self.commands.append(list(command))
        self.settings.append(dict(extra))
        if command[1] == "venv":
            python = Path(command[-1]) / "bin" / "python"
            python.parent.mkdir(parents=True)
            python.touch()
        failed = bool(self.fail_at) and self.fail_at in command
        return subprocess.CompletedProcess(command, int(failed), "", self.stderr)


def test_a_second_need_finds_it_ready() -> None:
    """An environment is synced once, and its size is printed before."""
    uv, said = Uv(), list[str]()
    variant, python = environments.ensure("vela-5.2", said.append, uv)
    assert variant == "lock"
    assert python.is_file()
    assert "up to 20 MiB to download" in said[0]
    assert "--require-hashes" in uv.commands[1]
    again = Uv()
    assert environments.ensure("vela-5.2", said.append, again) == (variant, python)
    assert again.commands == []


def test_a_half_synced_environment_is_thrown_away() -> None:
    """A failed sync leaves nothing; after a kill the marker is missing and the environment is made
    again.
    """
    with pytest.raises(ToolUnavailable, match=r"vela-5\.2 could not be made"):
        environments.ensure("vela-5.2", print, Uv(fail_at="sync", stderr="boom"))
    env = definitions.tool_env("vela-5.2")
    place = definitions.folder(env, "lock")
    assert not place.exists()
    (place / "bin").mkdir(parents=True)
    (place / "bin" / "python").touch()
    assert definitions.find_synced(env) is None
    uv = Uv()
    environments.ensure("vela-5.2", print, uv)
    assert len(uv.commands) == 2


@pytest.mark.parametrize(
    ("output", "why"),
    [
        ("error: No space left on device", "the disk is full; it needs 70 MiB"),
        ("error sending request for url", "the package index could not be reached"),
        ("error: something else", "see the last lines of uv"),
    ],
)
def test_a_failure_says_why(output: str, why: str) -> None:
    """A failure is reported with its reason and how to repeat it."""
    with pytest.raises(ToolUnavailable) as caught:
        environments.ensure("vela-5.2", print, Uv(fail_at="sync", stderr=output))
    assert why in str(caught.value)
    assert "to repeat: " in str(caught.value)


@pytest.mark.parametrize(
    ("output", "why"),
    [
        ("No interpreter found for Python 3.11", "uv's settings (UV_PYTHON_DOWNLOADS, uv.toml)"),
        ("Failed to download `https://x`\n  cause: dns error", "and uv could not fetch it"),
    ],
)
def test_a_missing_python_is_named(output: str, why: str) -> None:
    """The message names the missing Python version and whether it can be fetched."""
    with pytest.raises(ToolUnavailable) as caught:
        environments.ensure("vela-5.2", print, Uv(fail_at="venv", stderr=output))
    assert "it needs Python 3.11, which is not on this machine" in str(caught.value)
    assert why in str(caught.value)


def test_whether_uv_fetches_a_python_is_the_users_choice() -> None:
    """UV_PYTHON_DOWNLOADS and uv.toml decide whether uv fetches a Python."""
    for environ in ({}, {"UV_PYTHON_DOWNLOADS": "never"}):
        assert "UV_PYTHON_DOWNLOADS" not in uv_commands.uv_settings({"HOME": "/nowhere", **environ})


def test_torch_takes_the_cpu_build_where_it_can_be_had(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a GPU torch's CPU build is used if it is available; otherwise, and with a GPU, the
    CUDA build.
    """
    env = definitions.tool_env("ultralytics")
    monkeypatch.setattr(environments, "find_uv", lambda: "uv")
    assert environments.choose_variant(env, {}, Uv()) == ("lock-cpu", ())
    assert environments.choose_variant(env, {}, Uv(fail_at="pip")) == ("lock-cuda", ())
    (tmp_path / "driver").touch()
    monkeypatch.setattr(host_facts, "MARKS", (str(tmp_path / "driver"),))
    assert environments.choose_variant(env, {}, Uv()) == ("lock-cuda", ())


def test_both_torch_locks_are_one_identity() -> None:
    """Both locks of torch have one identity: their pins differ only in CUDA."""
    env = definitions.tool_env("ultralytics")

    def pins(variant: str) -> set[str]:
        lines = env.lock(variant).read_text().splitlines()
        names = {
            line.split(" ")[0].split("+")[0] for line in lines if "==" in line and line[0] != " "
        }
        return {n for n in names if not n.startswith(("nvidia-c", "nvidia-n", "cuda-", "triton"))}

    assert pins("lock-cpu") == {
        pin for pin in pins("lock-cuda") if pin.startswith("nvidia-ml") or "nvidia" not in pin
    } | {pin for pin in pins("lock-cpu") if "nvidia" in pin}


@pytest.mark.parametrize(
    ("machine", "name", "variants", "missing"),
    [
        ("aarch64", "evaluate", ("lock",), ""),
        ("aarch64", "yolox", ("lock-cuda",), ""),
        ("aarch64", "yolov4", ("linux-aarch64-lock-cuda",), ""),
        ("aarch64", "onnx-tf", (), "tensorflow-cpu 2.15.1 does not exist for Linux aarch64"),
        ("riscv64", "evaluate", (), "it has no lock for Linux riscv64"),
        ("riscv64", "tensorrt", (), ""),
        ("riscv64", "", (), ""),
    ],
)
def test_another_host_takes_the_lock_that_is_for_it(
    monkeypatch: pytest.MonkeyPatch,
    machine: str,
    name: str,
    variants: tuple[str, ...],
    missing: str,
) -> None:
    """The lock for the host is used; the identity, and so every key, stays the same."""
    monkeypatch.setattr("platform.machine", lambda: machine)
    assert definitions.missing_package(name) == missing
    if not name or name == "tensorrt":
        return
    env = definitions.tool_env(name)
    assert definitions.preferred_variants(env) == variants
    if missing:
        with pytest.raises(ToolUnavailable, match=f"{name} cannot be made here: {missing}"):
            environments.ensure(name, print, Uv())
    else:
        assert environments.choose_variant(env, {}, Uv()) == (variants[0], ())
        assert definitions.expected_download_mib(env) > 100


def test_the_locks_of_other_hosts_pin_the_same_versions() -> None:
    """The locks of all hosts pin the same versions, so that keys agree."""
    for env in definitions.all_tool_envs():
        for host, lock in env.unverified:
            assert env.lock(lock).is_file()
            same = replace(env, variants=(lock.removeprefix(f"{host}-"),)).pins
            assert replace(env, variants=(lock,)).pins == same


def test_pip_settings_become_uv_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Settings of pip become settings of uv unless uv has its own."""
    config = tmp_path / "pip.conf"
    config.write_text(
        "[global]\nindex-url = https://index.example/simple\nextra-index-url = https://a.example\n"
        "  https://b.example\nfind-links = wheels\ncert = ca.pem\n"
    )
    environ = {"HOME": str(tmp_path), "PIP_CONFIG_FILE": str(config), "PIP_FIND_LINKS": "one two"}
    settings = uv_commands.uv_settings(environ)
    assert settings["UV_DEFAULT_INDEX"] == "https://index.example/simple"
    assert settings["UV_INDEX"] == "https://a.example https://b.example"
    assert settings["UV_FIND_LINKS"] == "one,two"
    assert settings["SSL_CERT_FILE"] == "ca.pem"
    own = uv_commands.uv_settings({**environ, "UV_FIND_LINKS": "mine"})
    assert "UV_FIND_LINKS" not in own


def test_locks_are_complete() -> None:
    """Every pin has a hash, no lock names an index, and every environment states its size."""
    for env in definitions.all_tool_envs():
        assert env.download_mib > 0
        assert env.version
        for variant in env.variants:
            text = env.lock(variant).read_text()
            assert "://" not in text
            blocks = [b for b in text.replace(" \\\n    ", " ").splitlines() if "==" in b]
            assert blocks
            assert all("--hash=sha256:" in block for block in blocks)
