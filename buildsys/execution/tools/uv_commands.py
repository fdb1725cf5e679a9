"""Calls uv: finds it, translates the user's pip settings, and runs commands that end with us."""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

from buildsys.errors import ToolUnavailable
from buildsys.execution import children

Run = Callable[[Sequence[str], Mapping[str, str]], "subprocess.CompletedProcess[str]"]
"""Runs a command with extra environment variables and captures its output; tests pass their own."""
Beside = Callable[[int], AbstractContextManager[object]]
"""Takes the id of a running process."""


def _nothing(_: int) -> AbstractContextManager[object]:
    return nullcontext()


def uv_settings(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the user's pip settings as uv's variables, where uv has no setting itself.

    uv reads its own configuration, but not pip's: index, extra indexes, find-links, certificate.
    """
    pip = _pip_settings(environ)
    names = {
        "index-url": ("UV_DEFAULT_INDEX", " "),
        "extra-index-url": ("UV_INDEX", " "),
        "find-links": ("UV_FIND_LINKS", ","),
        "cert": ("SSL_CERT_FILE", ""),
    }
    found = {
        variable: joint.join(pip[name].split())
        for name, (variable, joint) in names.items()
        if pip.get(name) and variable not in environ
    }
    if "UV_INDEX" in found:
        # pip takes the best match of all indexes; every file must match the lock's hashes anyway
        found.setdefault("UV_INDEX_STRATEGY", "unsafe-best-match")
    return found


def _pip_settings(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the settings of pip's configuration files, later ones over earlier ones, and PIP_*
    over them.
    """
    import configparser

    home = Path(environ.get("HOME", "/"))
    places = [
        Path("/etc/pip.conf"),
        home / ".pip/pip.conf",
        Path(environ.get("XDG_CONFIG_HOME", home / ".config")) / "pip/pip.conf",
        Path(sys.prefix) / "pip.conf",
        Path(environ.get("PIP_CONFIG_FILE", os.devnull)),
    ]
    parser = configparser.RawConfigParser()
    parser.read([place for place in places if place.is_file()], encoding="utf-8")
    settings: dict[str, str] = {}
    for section in ("global", "install"):
        if parser.has_section(section):
            settings |= {key.replace("_", "-"): value for key, value in parser.items(section)}
    for name in ("index-url", "extra-index-url", "find-links", "cert"):
        value = environ.get("PIP_" + name.upper().replace("-", "_"))
        settings |= {name: value} if value else {}
    return settings


def find_uv() -> str:
    """Return the path of uv beside this interpreter, otherwise from PATH."""
    beside = Path(sys.executable).parent / "uv"
    found = str(beside) if beside.is_file() else shutil.which("uv")
    if found is None:
        raise ToolUnavailable("uv is not installed; it comes with buildsys: reinstall buildsys.")
    return found


def run_command(
    command: Sequence[str], extra: Mapping[str, str], beside: Beside = _nothing
) -> "subprocess.CompletedProcess[str]":
    """Run a command and capture its output, while `beside` is held. Its processes end with us."""
    with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as errors:
        environment = {**os.environ, **extra}
        with (
            children.child(command, environment, stdout=output, stderr=errors) as process,
            beside(process.pid),
        ):
            code = children.wait(process)
        texts = []
        for stream in (output, errors):
            stream.seek(0)
            texts.append(stream.read().decode(errors="replace"))
    return subprocess.CompletedProcess(command, code, *texts)
