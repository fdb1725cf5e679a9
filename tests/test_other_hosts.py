"""The core on simulated hosts: Linux on ARM64, and macOS."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from buildsys.execution.session.session import Session
from buildsys.execution.session.summary import render_table
from tests.conftest import REPOSITORY, Build, StandIn, no_environment
from tests.operations import golden

PROGRAM = Path(__file__).with_name("other_host.py")


def test_what_has_no_tools_here_waits_whatever_another_architecture_made(
    build: Build, workspace: Path, tools: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A step without tools for this host waits, even if another architecture has a result, whose
    last bits may differ.
    """

    def table() -> str:
        session = Session(workspace, tools, no_environment)
        try:
            return render_table(session.build(list(session.plans)))
        finally:
            session.close()

    def waits_on_arm64() -> None:
        with monkeypatch.context() as elsewhere:
            elsewhere.setattr("platform.machine", lambda: "aarch64")
            assert (
                "waiting for a host with the tool environment tflite-micro"
                " (tflite-micro 0.dev20261023182759 does not exist for Linux aarch64)" in table()
            )
            assert "record_tflm" not in tools.ran

    waits_on_arm64()
    build()
    for name in (".buildsys", "build"):
        shutil.rmtree(workspace / name)
    tools.ran.clear()
    waits_on_arm64()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("system", "machine", "isolation"), [("darwin", "arm64", "auto"), ("linux", "aarch64", "none")]
)
def test_the_core_imports_plans_and_says_what_the_host_can_do(
    tmp_path: Path, system: str, machine: str, isolation: str
) -> None:
    """On other hosts the core imports, plans, and reports what cannot run before trying it."""
    root = tmp_path / "workspace"
    root.mkdir()
    for folder in ("recipes", "weights"):
        shutil.copytree(REPOSITORY / folder, root / folder)
    shutil.copyfile(REPOSITORY / "buildsys.lock", root / "buildsys.lock")
    done = subprocess.run(
        [sys.executable, str(PROGRAM), system, machine, str(root)],
        env={
            **os.environ,
            "PYTHONPATH": str(REPOSITORY),
            "HOME": str(tmp_path),
            "BUILDSYS_ISOLATION": isolation,
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    golden.check(f"host-{system}-{machine}", done.stdout)
