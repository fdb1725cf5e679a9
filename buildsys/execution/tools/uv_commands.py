"""Calling uv: where it is, the user's pip settings in its words, and a command that ends with us."""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from buildsys.errors import ToolUnavailable
from buildsys.execution import children

Run = Callable[[Sequence[str], Mapping[str, str]], "subprocess.CompletedProcess[str]"]
"""Runs a command with extra environment variables, output captured; tests pass their own."""


def uv_settings(environ: Mapping[str, str]) -> dict[str, str]:
    """The user's pip settings in uv's words, where uv has none of its own.

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
        # pip takes the best match of all indexes; every file is held to the lock's hashes anyway
        found.setdefault("UV_INDEX_STRATEGY", "unsafe-best-match")
    return found


def _pip_settings(environ: Mapping[str, str]) -> dict[str, str]:
    """Pip's configuration files, the later over the earlier, and PIP_* over them."""
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
    """Uv beside this interpreter, else on PATH."""
    beside = Path(sys.executable).parent / "uv"
    found = str(beside) if beside.is_file() else shutil.which("uv")
    if found is None:
        raise ToolUnavailable("uv is not installed; it comes with buildsys: reinstall buildsys.")
    return found


def run_command(
    command: Sequence[str], extra: Mapping[str, str]
) -> "subprocess.CompletedProcess[str]":
    """Run and capture; the default of `Run`. What it starts ends with us."""
    with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as errors:
        environment = {**os.environ, **extra}
        with children.child(command, environment, stdout=output, stderr=errors) as process:
            code = children.wait(process)
        texts = []
        for stream in (output, errors):
            stream.seek(0)
            texts.append(stream.read().decode(errors="replace"))
    return subprocess.CompletedProcess(command, code, *texts)
