"""Values of `cluster` in buildsys.yaml, and their checks.

Any client of a dask scheduler can run code on its workers. A connection therefore uses TLS with the
cluster's certificate on both sides, or stays on this machine; anything else must be requested
explicitly.
"""

import re
from dataclasses import dataclass
from urllib.parse import urlsplit

from buildsys.typed_json import Mismatch, check_at

VARIABLE = "BUILDSYS_CLUSTER"
"""Environment variable: the address of a scheduler."""
CA_VARIABLE = "BUILDSYS_CLUSTER_CA"
"""Environment variable: the file with the certificate of that scheduler."""
DEFAULT_PORT = 8786
"""dask's."""
WAIT_SECONDS = 60.0
_HOST = re.compile(r"[A-Za-z0-9._:-]{1,255}", re.ASCII)
_LOCAL_NAMES = frozenset({"localhost", "ip6-localhost"})
_FILE_NAME = re.compile(r"\w[\w. +@-]{0,99}")
_PARTITION = re.compile(r"[A-Za-z0-9][A-Za-z0-9._,-]{0,99}", re.ASCII)
_WALLTIME = re.compile(r"(\d+-)?\d{1,3}:\d\d:\d\d", re.ASCII)
_MOST_WORKERS = 1000
OPTION, KEY = "`--insecure`", "`cluster: {insecure: true}` in buildsys.yaml"
"""What allows a scheduler without TLS: for the commands that start it and its workers, and for a
run.
"""


def explain_insecure(way: str) -> str:
    """Return why a scheduler needs TLS, and what allows one without; `way`: OPTION or KEY."""
    return (
        "anyone who reaches a scheduler without TLS can run code on its workers: use tls://, or allow it with"
        f" {way} where a VPN or a firewall keeps others out"
    )


def check_address(address: str) -> None:
    """Raise ValueError for a text that is not the address of a scheduler."""
    try:
        parts = urlsplit(address)
        port, host = parts.port, parts.hostname or ""
    except ValueError as error:
        raise ValueError(f"it is not an address: {error}") from None
    rest = parts.path or parts.query or parts.fragment or parts.username or parts.password
    if parts.scheme not in ("tls", "tcp") or not _HOST.fullmatch(host) or not port or rest:
        raise ValueError("the address of a scheduler is tls://HOST:PORT, or tcp://HOST:PORT")


def check_protection(address: str, insecure: bool, way: str = KEY) -> None:
    """Raise Mismatch for an address of another machine without TLS, unless that is allowed."""
    parts = urlsplit(address)
    if parts.scheme == "tcp" and not insecure and not is_loopback(parts.hostname or ""):
        message = f"it leads to another machine without TLS; {explain_insecure(way)}"
        raise Mismatch(message, ("scheduler",))


def is_loopback(host: str) -> bool:
    """Return whether a host is certainly this machine."""
    if host in _LOCAL_NAMES:
        return True
    import ipaddress  # not needed by a run without a cluster

    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def check_partition(name: str) -> None:
    """Raise ValueError for an invalid name of a SLURM partition."""
    if _PARTITION.fullmatch(name) is None:
        raise ValueError("a partition is a word, as `sinfo` prints it")


def check_workers(count: int) -> None:
    """Raise ValueError for an invalid number of workers."""
    if not 1 <= count <= _MOST_WORKERS:
        raise ValueError(f"the number of workers is at least 1 and at most {_MOST_WORKERS}")


def check_walltime(text: str) -> None:
    """Raise ValueError unless the text is a time in SLURM's notation."""
    if _WALLTIME.fullmatch(text) is None:
        raise ValueError('a walltime is HOURS:MINUTES:SECONDS in quotes, such as "4:00:00"')


def check_wait(seconds: float) -> None:
    """Raise ValueError for an invalid waiting time."""
    if not 0 <= seconds <= 24 * 3600:
        raise ValueError("the time is in seconds, from 0 to a day")


@dataclass(frozen=True, kw_only=True)
class SlurmSettings:
    """Workers that SLURM starts for a run; they end with it."""

    partition: str
    workers: int
    walltime: str

    def __post_init__(self) -> None:
        """Raise Mismatch for an invalid value, at its place."""
        check_at(check_partition, self.partition, "partition")
        check_at(check_workers, self.workers, "workers")
        check_at(check_walltime, self.walltime, "walltime")


@dataclass(frozen=True, kw_only=True)
class ClusterSettings:
    """A running scheduler, or SLURM workers with a scheduler that the run starts.

    With neither of them, only `insecure`: a scheduler named by the environment may lack TLS.
    """

    scheduler: str = ""
    ca: str = ""
    """File with the certificate and key of the cluster; a relative path starts in the user's
    configuration folder.

    buildsys.yaml may only name a file in that folder, see `check_file`.
    """
    insecure: bool = False
    wait_seconds: float = WAIT_SECONDS
    """How many seconds a step waits for a worker that meets its requirements."""
    slurm: SlurmSettings | None = None

    def __post_init__(self) -> None:
        """Raise Mismatch for an invalid value, or values that exclude each other, at their
        place.
        """
        check_at(check_wait, self.wait_seconds, "wait_seconds")
        only_allows = self.insecure and not self.scheduler and self.slurm is None
        if bool(self.scheduler) == (self.slurm is not None) and not only_allows:
            raise Mismatch("`cluster` needs one of `scheduler` and `slurm`")
        if self.slurm is not None:
            for name in ("ca", "insecure"):
                if getattr(self, name):
                    what = f"`{name}` belongs to `scheduler`"
                    raise Mismatch(f"{what}: with SLURM a run makes its own certificate", (name,))
        if self.scheduler:
            check_at(check_address, self.scheduler, "scheduler")
            check_protection(self.scheduler, self.insecure)
            if self.scheduler.startswith("tls:") and not self.ca:
                message = "tls:// needs `ca`, the file that `buildsys scheduler --tls` made"
                raise Mismatch(message, ("scheduler",))


def check_file(settings: ClusterSettings) -> None:
    """Raise Mismatch for a scheduler or certificate that only a person may choose, not
    buildsys.yaml.

    A scheduler can run code on the machine that builds. Anyone can start one without TLS, also on
    this machine. One with TLS has the key of the certificate, and many certificates on a machine
    come with their keys, from a package: only the user puts one into the configuration folder.
    """
    parts = urlsplit(settings.scheduler)
    if parts.scheme == "tcp":
        allowed = is_loopback(parts.hostname or "")
        raise Mismatch(
            "a scheduler without TLS: anyone who can change this file could run code here; remove it, and"
            f" set {VARIABLE}={settings.scheduler} to use it"
            + ("" if allowed else ", and leave `insecure: true` here to allow it"),
            ("scheduler",),
        )
    if settings.ca and (_FILE_NAME.fullmatch(settings.ca) is None or ".." in settings.ca):
        raise Mismatch(
            "it is not the name of a file in ~/.config/buildsys, and others may have the key of a certificate"
            " elsewhere; put yours into ~/.config/buildsys and write its name, such as `farm.pem`, or set"
            f" {CA_VARIABLE}",
            ("ca",),
        )
