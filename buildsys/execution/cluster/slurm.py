"""Starts workers for one run as SLURM jobs, by dask-jobqueue; the scheduler is a thread of the run.

A worker gets a whole node. Run as a program, this module is the command of a job: dask-jobqueue
passes it the arguments of dask's own worker command.
"""

import argparse
import contextlib
import os
import shlex
import socket
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from buildsys.cluster_settings import SlurmSettings
from buildsys.errors import BuildsysError, CannotReach
from buildsys.execution import signals
from buildsys.execution.cluster import connections
from buildsys.execution.places import Workspace, cache_root
from buildsys.execution.unexpected import UNEXPECTED
from buildsys.files import remove_tree
from buildsys.remote_settings import ADDRESSES

if TYPE_CHECKING:
    from dask_jobqueue import SLURMCluster

_START_SECONDS = 300
"""Seconds for which a job's worker looks for the scheduler; a run that ends leaves jobs queued."""
_WHOLE_NODE = ["--exclusive", "--mem=0"]
_PASSED = (
    "BUILDSYS_REMOTE",
    "BUILDSYS_REMOTE_MODE",
    *(name for names in ADDRESSES.values() for name in names),
    "AWS_REGION",
    "BUILDSYS_STORE",
    "BUILDSYS_SIGNING_KEY",
    "BUILDSYS_ISOLATION",
    "BUILDSYS_TENSORRT_PYTHON",
    "BUILDSYS_DOWNLOAD_GIB",
    "BUILDSYS_DOWNLOAD_HOURS",
    "XDG_CACHE_HOME",
    "XDG_CONFIG_HOME",
)
"""Variables that a worker reads, since sites may start jobs without the shell's variables.

None of them is secret: they are written into a job's script.
"""
_KEY_SUFFIX = ".pem"
_SUFFIXES = (".out", ".err", _KEY_SUFFIX)
_LEFT_SECONDS = 30 * 24 * 3600.0
"""Seconds, longer than any job runs: older files belong to no job."""


class Slurm:
    """The workers of one run, and the scheduler that they connect to."""

    def __init__(self, settings: SlurmSettings, workspace: Workspace) -> None:
        """Submit the jobs. Raises CannotReach where they cannot be submitted."""
        connections.configure()
        folder = cache_root() / "slurm"
        folder.mkdir(parents=True, exist_ok=True)
        remove_left(cache_root(), time.time())
        name = f"{socket.gethostname()}-{os.getpid()}"  # see `_has_ended`
        self.certificate = folder / f"{name}{_KEY_SUFFIX}"
        with contextlib.ExitStack() as undo:
            self.certificate.unlink(missing_ok=True)
            undo.callback(self.certificate.unlink, missing_ok=True)
            signals.remove_on_signals(self.certificate)
            connections.make_certificate(self.certificate, lambda text: None)
            words = (str(self.certificate), sys.executable, str(folder))
            if any(word != shlex.quote(word) for word in words):
                raise CannotReach(
                    f"a SLURM job cannot name {' or '.join(words)}: use a path without spaces"
                )
            self._cluster = self._submit(settings, workspace, folder)
            self.address = str(self._cluster.scheduler_address)
            undo.pop_all()

    def _submit(
        self, settings: SlurmSettings, workspace: Workspace, folder: Path
    ) -> "SLURMCluster":
        from dask_jobqueue import SLURMCluster

        exports = [
            f"export {name}={shlex.quote(os.environ[name])}"
            for name in _PASSED
            if name in os.environ
        ]
        try:
            return SLURMCluster(
                queue=settings.partition,
                walltime=settings.walltime,
                n_workers=settings.workers,
                cores=1,
                memory="1GiB",
                processes=1,
                job_directives_skip=["--cpus-per-task", "--mem="],
                job_extra_directives=_WHOLE_NODE,
                job_name="buildsys",
                job_script_prologue=[*exports, f"cd {shlex.quote(str(workspace.root))}"],
                worker_command=__name__,
                death_timeout=_START_SECONDS,
                log_directory=str(folder),
                python=sys.executable,
                security=connections.security(self.certificate),
                scheduler_options={"dashboard_address": connections.NO_PAGES, "dashboard": False},
            )
        except UNEXPECTED as error:
            raise CannotReach(f"SLURM rejected the jobs: {error}") from error

    def close(self) -> None:
        """Cancel the jobs."""
        with contextlib.suppress(*UNEXPECTED):
            self._cluster.close(timeout=10)
        self.certificate.unlink(missing_ok=True)


def remove_left(cache: Path, now: float) -> None:
    """Remove old output of jobs, keys of runs that have ended, and the folders of killed workers.

    `now`: seconds since 1970.
    """
    files = [path for path in (cache / "slurm").glob("*") if path.suffix in _SUFFIXES]
    for path in (*files, *(cache / "workers").glob("slurm-*")):
        with contextlib.suppress(OSError):
            newest = max(
                each.stat().st_mtime for each in (path, *path.glob("*"), *path.glob("*/*"))
            )
            unused = path.suffix == _KEY_SUFFIX and _has_ended(path.stem)
            if unused or now - newest > _LEFT_SECONDS:
                path.unlink() if path.is_file() else remove_tree(path)


def _has_ended(run: str) -> bool:
    """Return whether a run, named by host and process, has ended; False if that is not known.

    It is not known for other hosts, and where another process has the number now.
    """
    host, _, process = run.rpartition("-")
    if host != socket.gethostname() or not process.isdecimal():
        return False
    try:
        os.kill(int(process), 0)
    except (ProcessLookupError, OverflowError):
        return True
    except PermissionError:  # another user's process
        pass
    return False


def main(words: Sequence[str]) -> int:
    """Run one job: the worker of a node."""
    parser = argparse.ArgumentParser()
    parser.add_argument("scheduler")
    parser.add_argument("--name", required=True)
    parser.add_argument("--death-timeout", type=float, default=_START_SECONDS)
    parser.add_argument("--tls-ca-file", type=Path, required=True)
    options, _ = parser.parse_known_args(words)
    from buildsys.execution.cluster.worker import WorkerOptions, serve

    def print_line(text: str) -> None:
        print(text, file=sys.stderr, flush=True)

    try:
        return serve(
            WorkerOptions(
                scheduler=options.scheduler,
                certificate=options.tls_ca_file,
                name=options.name,
                keeps_folder=False,
                folder=f"slurm-{os.environ.get('SLURM_JOB_ID', os.getpid())}",
                labels=(),
                gpus=None,
                seconds=options.death_timeout,
            ),
            Workspace(Path.cwd()),
            print_line,
        )
    except BuildsysError as error:
        print_line(str(error))
        return error.exit_code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
