"""A cluster of real processes on this machine: scheduler, workers with their own stores, remote
store.
"""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from tests.processes import environment, make_place, processes_in, start_doit, tools_in, wait_until

TENSORRT = """\
from buildsys.execution.tools import environments
_ensure = environments.ensure
def ensure(name, say, run=None):
    return _ensure("evaluate" if name == "tensorrt" else name, say)
environments.ensure = ensure
"""
"""Code that Python runs at start: the stand-in also builds engines."""


class Cluster:
    """A workspace `place` below `root`, and the processes of its cluster, which `close` ends.

    `wait_seconds`: how long a step waits for a worker that fits; `boards`: see `make_place`.
    """

    def __init__(self, root: Path, wait_seconds: float = 30, boards: int = 1, **tool: str) -> None:
        self.root = root
        self.place = make_place(root, seconds=0.01, boards=boards, **tool)
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self.wait_seconds = wait_seconds
        self.remote, self.endpoint = f"file://{root}/remote", ""
        """URL of the remote store, and the address of an S3 server."""
        self.address = ""

    def start(self, *workers: str) -> "Cluster":
        """Start the scheduler, then workers by name."""
        self.scheduler()
        for name in workers:
            self.worker(name, wait=False)
        for name in workers:
            self.joined(name)
        return self

    def scheduler(self, *arguments: str) -> str:
        """Start the scheduler on a free port; returns its address."""
        self._start("scheduler", "scheduler", "--port", "0", *arguments)
        self.wait_for("scheduler", "scheduler at ")
        found = re.search(r"scheduler at (\S+)", self.printed_by("scheduler"))
        assert found is not None
        self.address = found[1]
        self.configure()
        return self.address

    def configure(self, **cluster: str) -> None:
        """Write buildsys.yaml for a scheduler that a variable names, with further keys."""
        keys = {"insecure": "true", "wait_seconds": str(self.wait_seconds)} | cluster
        text = ", ".join(f"{key}: {value}" for key, value in keys.items())
        (self.place / "buildsys.yaml").write_text(f"cluster: {{{text}}}\n")

    @property
    def variables(self) -> dict[str, str]:
        """Environment variables for the scheduler's address and for writing to the remote store."""
        found = {"BUILDSYS_REMOTE": self.remote, "BUILDSYS_REMOTE_MODE": "read-write"}
        if self.address:
            found["BUILDSYS_CLUSTER"] = self.address
        return found | ({"AWS_ENDPOINT_URL": self.endpoint} if self.endpoint else {})

    def begin(
        self, *arguments: str, extra: Mapping[str, str] | None = None
    ) -> "subprocess.Popen[str]":
        """Start doit in the background, in the workspace."""
        return start_doit(self.place, *arguments, extra={**self.variables, **(extra or {})})

    def run(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        """Run doit; stdout and stderr are combined."""
        process = self.begin(*arguments)
        output, _ = process.communicate(timeout=120)
        return subprocess.CompletedProcess(process.args, process.returncode, output)

    def worker(
        self,
        name: str,
        *arguments: str,
        extra: Mapping[str, str] | None = None,
        wait: bool = True,
    ) -> None:
        """Start a worker with its own store."""
        store = str(self.root / f"store-{name}")
        words = ("worker", self.address, "--name", name, "--store", store, *arguments)
        self._start(name, *words, extra=extra)
        if wait:
            self.joined(name)

    def joined(self, name: str) -> None:
        """Wait until the scheduler lists a worker."""
        self.wait_for(name, f"worker {name} at ")

    def printed_by(self, name: str) -> str:
        """The output of a process so far."""
        return (self.root / f"{name}.out").read_text()

    def wait_for(self, name: str, text: str) -> None:
        """Wait until a process has printed something, or has ended."""
        process = self.processes[name]
        wait_until(
            lambda: text in self.printed_by(name) or process.poll() is not None, f"{name}: {text}"
        )
        assert text in self.printed_by(name), self.printed_by(name)

    def kill(self, name: str, number: signal.Signals = signal.SIGKILL) -> None:
        """End a process."""
        self.processes[name].send_signal(number)
        self.processes[name].wait(180)

    def tools_on(self, name: str, module: str = "") -> list[int]:
        """Steps that run on a worker now (of a module), as `processes.tools_in` finds them."""
        return tools_in(self.folder_of(name), module)

    def folder_of(self, name: str) -> Path:
        """The working folder of a worker."""
        return self.root / "cache" / "buildsys" / "workers" / name

    def close(self) -> None:
        """End all processes that were started."""
        for process in self.processes.values():
            if process.poll() is None:
                process.kill()
        for process in self.processes.values():
            process.wait(180)
        workers = self.root / "cache" / "buildsys" / "workers"
        wait_until(lambda: not processes_in(workers), "the end of every step")

    def _start(self, name: str, *words: str, extra: Mapping[str, str] | None = None) -> None:
        with (self.root / f"{name}.out").open("wb") as out:
            self.processes[name] = subprocess.Popen(
                [sys.executable, "-m", "buildsys", "-C", str(self.place), *words],
                cwd=self.root,
                stdout=out,
                stderr=subprocess.STDOUT,
                env={**environment(self.root), **self.variables, **(extra or {})},
            )


def python_path(root: Path, code: str) -> dict[str, str]:
    """Environment variables of a process that runs some code at its start, after that of
    `processes.environment`.
    """
    folder = root / "site-more"
    folder.mkdir(exist_ok=True)
    before = (root / "site" / "sitecustomize.py").read_text()
    (folder / "sitecustomize.py").write_text(before + code)
    return {"PYTHONPATH": f"{folder}{os.pathsep}{environment(root)['PYTHONPATH']}"}
