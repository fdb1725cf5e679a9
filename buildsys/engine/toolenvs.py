"""Lock -> synced environment -> interpreter.

An environment is a folder in the user's cache, named by its lock's digest, made by uv from hashed
pins, never changed afterwards. A marker file is written last: without it the folder is thrown away.
"""

import os
import shutil
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from buildsys.digest import digest_bytes, digest_value
from buildsys.engine import guard
from buildsys.engine.places import cache_root
from buildsys.engine.watching import watched
from buildsys.errors import InternalError, ToolUnavailable

ENVS = Path(__file__).resolve().parent.parent / "envs"
_MARKER = ".synced"
_LINE_EVERY_SECONDS = 15.0

Run = Callable[[Sequence[str], Mapping[str, str]], "subprocess.CompletedProcess[str]"]
"""Runs a command with extra environment variables, output captured; tests pass their own."""


@dataclass(frozen=True, kw_only=True)
class ToolEnv:
    """One environment as its data describes it. Sizes in MiB, measured on Linux x86-64."""

    name: str
    title: str
    package: str
    purpose: str
    python: str
    download_mib: int
    disk_mib: int
    variants: tuple[str, ...]
    """Lock file stems: ("lock",), or ("lock-cpu", "lock-cuda")."""
    needs_compiler: bool
    download_mib_cuda: int
    external: bool
    """Found on the machine and never made: no lock. Its steps start in our own Python, and find the
    tool by themselves (steps._tensorrt_host)."""

    def lock(self, variant: str) -> Path:
        """The lock file of a variant."""
        return ENVS / self.name / f"{variant}.txt"

    @property
    def pins(self) -> tuple[str, ...]:
        """`name==version` of the first variant, local parts of versions left out: the identity."""
        if self.external:
            return ()  # a target declares the version; it is a parameter of the step
        lines = self.lock(self.variants[0]).read_text(encoding="utf-8").splitlines()
        pins = [line.split(" ")[0].split("+")[0] for line in lines if "==" in line[:80]]
        return tuple(sorted(pin for pin in pins if not pin.startswith(" ")))

    @property
    def version(self) -> str:
        """The version of the package that the environment is about; empty for an external one."""
        prefix = f"{self.package}=="
        found = (pin.removeprefix(prefix) for pin in self.pins if pin.startswith(prefix))
        return next(found, "")

    @property
    def identity(self) -> str:
        """What action keys hold: one for all variants."""
        return digest_value([self.name, self.python, list(self.pins)])


@cache
def tool_env(name: str) -> ToolEnv:
    """Read an environment's description."""
    path = ENVS / name / "env.toml"
    if not path.is_file():
        raise InternalError(f"no tool environment {name}")
    data = tomllib.loads(path.read_text(encoding="utf-8"))
    stems = sorted(lock.stem for lock in path.parent.glob("lock*.txt"))
    return ToolEnv(
        name=name, title=data["title"], package=data["package"], purpose=data["purpose"],
        python=data["python"], download_mib=data.get("download_mib", 0),
        disk_mib=data.get("disk_mib", 0), external=data.get("external", False),
        variants=tuple(stems), needs_compiler=data.get("needs_compiler", False),
        download_mib_cuda=data.get("download_mib_cuda", 0),
    )  # fmt: skip


def all_tool_envs() -> tuple[ToolEnv, ...]:
    """Every environment that is made from a lock, by name."""
    return tuple(env for env in _described() if not env.external)


def external_envs() -> tuple[ToolEnv, ...]:
    """Every environment that a machine has or has not, by name."""
    return tuple(env for env in _described() if env.external)


def _described() -> tuple[ToolEnv, ...]:
    return tuple(tool_env(path.parent.name) for path in sorted(ENVS.glob("*/env.toml")))


def folder(env: ToolEnv, variant: str) -> Path:
    """Where a variant is synced to."""
    key = digest_bytes(env.lock(variant).read_bytes() + env.python.encode())[:16]
    return cache_root() / "toolenvs" / f"{env.name}-{variant.removeprefix('lock-')}-{key}"


def find_synced(env: ToolEnv) -> tuple[str, Path] | None:
    """(variant, interpreter) of an environment that is ready, else None."""
    for variant in _preferred(env):
        place = folder(env, variant)
        if (place / _MARKER).is_file():
            return variant, place / "bin" / "python"
    return None


def ensure(name: str, say: Callable[[str], None], run: Run | None = None) -> tuple[str, Path]:
    """(variant, interpreter) of an environment, synced now if it is not yet.

    Two processes that need the same one: the second waits. Raises ToolUnavailable.
    """
    import fcntl

    if not name:
        return "core", Path(sys.executable)
    env = tool_env(name)
    ready = ("external", Path(sys.executable)) if env.external else find_synced(env)
    if ready is not None:
        return ready
    root = cache_root() / "toolenvs"
    root.mkdir(parents=True, exist_ok=True)
    with (root / f".{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        ready = find_synced(env)
        return ready if ready is not None else _sync(env, say, run or _telling(env, say))


def _telling(env: ToolEnv, say: Callable[[str], None]) -> Run:
    """Runs commands and says every now and then how far they are."""
    return watched(
        lambda seconds, mib: say(f"{env.name}: {written(env, mib)}, {seconds:.0f} s"),
        every=_LINE_EVERY_SECONDS,
    )


def written(env: ToolEnv, mib: float) -> str:
    """How much of an environment has been written."""
    return f"{min(mib, env.disk_mib):.0f} of about {env.disk_mib} MiB"


def expected_download_mib(env: ToolEnv) -> int:
    """How much there is to download at most, for the variant that this machine prefers."""
    return env.download_mib_cuda if _preferred(env)[0] == "lock-cuda" else env.download_mib


def _sync(env: ToolEnv, say: Callable[[str], None], run: Run) -> tuple[str, Path]:
    settings = uv_settings(os.environ)
    variant, extra = choose_variant(env, settings, run)
    size = env.download_mib_cuda if variant == "lock-cuda" else env.download_mib
    place = folder(env, variant)
    say(
        f"syncing the tool environment {env.name} ({env.title} {env.version}): up to {size} MiB to"
        f" download, {env.disk_mib} MiB on disk, into {place}"
    )
    shutil.rmtree(place, ignore_errors=True)
    uv = find_uv()
    python = place / "bin" / "python"
    commands = [
        [uv, "venv", "--quiet", "--python", _interpreter(env), str(place)],
        [uv, "pip", "sync", "--quiet", "--require-hashes", *extra,
         "--python", str(python), str(env.lock(variant))],
    ]  # fmt: skip
    for command in commands:
        done = run(command, settings)
        if done.returncode:
            shutil.rmtree(place, ignore_errors=True)
            raise ToolUnavailable(_explain(env, command, done.stderr))
    (place / _MARKER).write_text(f"{variant}\n", encoding="utf-8")
    return variant, python


def choose_variant(
    env: ToolEnv, settings: Mapping[str, str], run: Run
) -> tuple[str, tuple[str, ...]]:
    """(variant, extra options of uv): for torch, the CPU build where it can be had, else CUDA's.

    With an NVIDIA GPU the CUDA build comes first.
    """
    if len(env.variants) == 1:
        return env.variants[0], ()
    if shutil.which("nvidia-smi"):
        return "lock-cuda", ()
    pin = next(
        line.split(" ")[0]
        for line in env.lock("lock-cpu").read_text(encoding="utf-8").splitlines()
        if line.startswith("torch==")
    )
    for extra in ((), ("--torch-backend", "cpu")):
        probe = [find_uv(), "pip", "install", "--quiet", "--dry-run", "--no-deps", *extra,
                 "--target", str(cache_root() / "probe"), "--python-version", env.python, pin]  # fmt: skip
        if run(probe, settings).returncode == 0:
            return "lock-cpu", extra
    return "lock-cuda", ()


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
    return {"UV_PYTHON_DOWNLOADS": "never", **found}


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
        with guard.child(command, environment, stdout=output, stderr=errors) as process:
            code = guard.wait(process)
        texts = []
        for stream in (output, errors):
            stream.seek(0)
            texts.append(stream.read().decode(errors="replace"))
    return subprocess.CompletedProcess(command, code, *texts)


def _interpreter(env: ToolEnv) -> str:
    """The Python to make an environment from: the one below our own, where its version fits."""
    own = f"{sys.version_info.major}.{sys.version_info.minor}"
    return (
        str(getattr(sys, "_base_executable", sys.executable)) if own == env.python else env.python
    )


def _preferred(env: ToolEnv) -> tuple[str, ...]:
    order = ("lock-cuda", "lock-cpu") if shutil.which("nvidia-smi") else ("lock-cpu", "lock-cuda")
    return env.variants if len(env.variants) == 1 else order


def _explain(env: ToolEnv, command: Sequence[str], output: str) -> str:
    last = "\n".join(f"    {line}" for line in output.strip().splitlines()[-8:])
    why = "see the last lines of uv"
    if "No interpreter found" in output:
        why = f"it needs Python {env.python}, which is not on this machine"
    elif "No space left" in output:
        why = f"the disk is full; it needs {env.disk_mib} MiB"
    elif "dns error" in output or "error sending request" in output:
        why = "the package index could not be reached; once synced (`buildsys sync`), no network is needed"
    return (
        f"the tool environment {env.name} could not be made: {why}.\n{last}\n"
        f"    to repeat: {' '.join(command)}"
    )
