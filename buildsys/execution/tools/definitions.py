"""Tool environments as envs/<name>/env.toml and their locks describe them, and where they lie here."""

import shutil
import tomllib
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path

from buildsys.digest import digest_bytes, digest_value
from buildsys.errors import InternalError
from buildsys.execution.places import cache_root
from buildsys.operating_system import TRIED, host_name, host_title

ENVS = Path(__file__).resolve().parents[2] / "envs"
MARKER = ".synced"
"""Written last: without it a folder is no environment."""


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
    tool by themselves (steps.lib.tensorrt.host_library)."""
    unverified: tuple[tuple[str, str], ...] = ()
    """(host, stem of the lock that serves it): other hosts than `TRIED`, where nobody ran it."""
    missing: tuple[tuple[str, str], ...] = ()
    """(host, what does not exist for it)."""

    @property
    def every_variant(self) -> tuple[str, ...]:
        """Lock file stems, those of other hosts with them."""
        return tuple(dict.fromkeys((*self.variants, *dict(self.unverified).values())))

    def lock(self, variant: str) -> Path:
        """The lock file of a variant."""
        return ENVS / self.name / f"{variant}.txt"

    @cached_property
    def pins(self) -> tuple[str, ...]:
        """`name==version` of the first variant, local parts of versions left out: the identity."""
        if self.external:
            return ()  # a target declares the version; it is a parameter of the step
        lines = self.lock(self.variants[0]).read_text(encoding="utf-8").splitlines()
        pins = [line.split(" ")[0].split("+")[0] for line in lines if "==" in line[:80]]
        return tuple(sorted(pin for pin in pins if not pin.startswith(" ")))

    @cached_property
    def version(self) -> str:
        """The version of the package that the environment is about; empty for an external one."""
        prefix = f"{self.package}=="
        found = (pin.removeprefix(prefix) for pin in self.pins if pin.startswith(prefix))
        return next(found, "")

    @cached_property
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
    for variant in preferred_variants(env):
        place = folder(env, variant)
        if (place / MARKER).is_file():
            return variant, place / "bin" / "python"
    return None


def written(env: ToolEnv, mib: float) -> str:
    """How much of an environment has been written."""
    return f"{min(mib, env.disk_mib):.0f} of about {env.disk_mib} MiB"


def expected_download_mib(env: ToolEnv) -> int:
    """How much there is to download at most, for the variant that this machine prefers."""
    cuda = any(variant.endswith("lock-cuda") for variant in preferred_variants(env)[:1])
    return env.download_mib_cuda if cuda else env.download_mib


def preferred_variants(env: ToolEnv) -> tuple[str, ...]:
    """The one for this machine first: CUDA where there is an NVIDIA GPU. None where no lock is for it."""
    if host_name() != TRIED:
        return tuple(lock for host, lock in env.unverified if host == host_name())
    order = ("lock-cuda", "lock-cpu") if shutil.which("nvidia-smi") else ("lock-cpu", "lock-cuda")
    return env.variants if len(env.variants) == 1 else order


def missing_package(name: str) -> str:
    """Why an environment cannot be made on this host: "X 1.0 does not exist for macOS arm64"; empty
    where it can.
    """
    if host_name() == TRIED or not name:
        return ""
    env, here = tool_env(name), host_title(host_name())
    if env.external or preferred_variants(env):
        return ""
    missing = dict(env.missing).get(host_name())
    return f"{missing} does not exist for {here}" if missing else f"it has no lock for {here}"


def explain_absence(name: str) -> str:
    """What a step waits for whose environment cannot be made on this host; empty where it can."""
    why = missing_package(name)
    return f"a host with the tool environment {name} ({why})" if why else ""
