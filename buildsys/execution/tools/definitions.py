"""Tool environments as described by envs/<name>/env.toml and their locks, and their folders
here.
"""

import tomllib
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path

from buildsys.digest import digest_bytes, digest_value
from buildsys.errors import InternalError
from buildsys.execution.places import cache_root
from buildsys.execution.tools.host_facts import has_driver
from buildsys.operating_system import TRIED, host_title, platform_name

ENVS = Path(__file__).resolve().parents[2] / "envs"
MARKER = ".synced"
"""Written last: a folder without it is not an environment."""


@dataclass(frozen=True, kw_only=True)
class ToolEnv:
    """The description of one environment; sizes in MiB, measured on Linux x86-64."""

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
    """Whether it is found on the machine and never made: it has no lock. Its steps start in our own
    Python, and find the tool themselves (steps.lib.tensorrt.host_library).
    """
    unverified: tuple[tuple[str, str], ...] = ()
    """(host, stem of its lock): for hosts other than `TRIED`, on which it was never run."""
    missing: tuple[tuple[str, str], ...] = ()
    """(host, package that does not exist for it)."""

    @property
    def every_variant(self) -> tuple[str, ...]:
        """Return the stems of all lock files, including those of other hosts."""
        return tuple(dict.fromkeys((*self.variants, *dict(self.unverified).values())))

    def lock(self, variant: str) -> Path:
        """Return the lock file of a variant."""
        return ENVS / self.name / f"{variant}.txt"

    @cached_property
    def pins(self) -> tuple[str, ...]:
        """Return `name==version` of the first variant's packages, without local version parts."""
        if self.external:
            return ()  # a target declares the version; it is a parameter of the step
        lines = self.lock(self.variants[0]).read_text(encoding="utf-8").splitlines()
        pins = [line.split(" ")[0].split("+")[0] for line in lines if "==" in line[:80]]
        return tuple(sorted(pin for pin in pins if not pin.startswith(" ")))

    @cached_property
    def version(self) -> str:
        """Return the version of the main package; empty for an external environment."""
        prefix = f"{self.package}=="
        found = (pin.removeprefix(prefix) for pin in self.pins if pin.startswith(prefix))
        return next(found, "")

    @cached_property
    def identity(self) -> str:
        """Return the identity in action keys, the same for all variants."""
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
        name=name,
        title=data["title"],
        package=data["package"],
        purpose=data["purpose"],
        python=data["python"],
        download_mib=data.get("download_mib", 0),
        disk_mib=data.get("disk_mib", 0),
        external=data.get("external", False),
        variants=tuple(stems),
        needs_compiler=data.get("needs_compiler", False),
        download_mib_cuda=data.get("download_mib_cuda", 0),
        unverified=tuple(data.get("unverified", {}).items()),
        missing=tuple(data.get("missing", {}).items()),
    )


def all_tool_envs() -> tuple[ToolEnv, ...]:
    """Return every environment that is made from a lock, by name."""
    return tuple(env for env in _described() if not env.external)


def external_envs() -> tuple[ToolEnv, ...]:
    """Return every environment that is only found on a machine, by name."""
    return tuple(env for env in _described() if env.external)


def _described() -> tuple[ToolEnv, ...]:
    return tuple(tool_env(path.parent.name) for path in sorted(ENVS.glob("*/env.toml")))


def folder(env: ToolEnv, variant: str) -> Path:
    """Return the folder of a variant."""
    key = digest_bytes(env.lock(variant).read_bytes() + env.python.encode())[:16]
    return cache_root() / "toolenvs" / f"{env.name}-{variant.removeprefix('lock-')}-{key}"


def find_synced(env: ToolEnv) -> tuple[str, Path] | None:
    """Return (variant, interpreter) of an environment that is synced, otherwise None."""
    for variant in preferred_variants(env):
        place = folder(env, variant)
        if (place / MARKER).is_file():
            return variant, place / "bin" / "python"
    return None


def written(env: ToolEnv, mib: float) -> str:
    """Return a text about how much of an environment has been written."""
    return f"{min(mib, env.disk_mib):.0f} of about {env.disk_mib} MiB"


def expected_download_mib(env: ToolEnv) -> int:
    """Return the most to download, in MiB, for the variant that this machine prefers."""
    cuda = any(variant.endswith("lock-cuda") for variant in preferred_variants(env)[:1])
    return env.download_mib_cuda if cuda else env.download_mib


def preferred_variants(env: ToolEnv) -> tuple[str, ...]:
    """Return variants in order of preference: CUDA first with an NVIDIA GPU; none without a lock
    for this host.
    """
    if platform_name() != TRIED:
        return tuple(lock for host, lock in env.unverified if host == platform_name())
    order = ("lock-cuda", "lock-cpu") if has_driver() else ("lock-cpu", "lock-cuda")
    return env.variants if len(env.variants) == 1 else order


def missing_package(name: str) -> str:
    """Return why an environment cannot be made on this host; empty if it can.

    Such as "X 1.0 does not exist for macOS arm64".
    """
    if platform_name() == TRIED or not name:
        return ""
    env, here = tool_env(name), host_title(platform_name())
    if env.external or preferred_variants(env):
        return ""
    missing = dict(env.missing).get(platform_name())
    return f"{missing} does not exist for {here}" if missing else f"it has no lock for {here}"


def explain_absence(name: str) -> str:
    """Return what a step waits for whose environment cannot be made on this host.

    Returns an empty text if it can.
    """
    why = missing_package(name)
    return f"a host with the tool environment {name} ({why})" if why else ""
