"""Runs one step in its tool environment as the runner does, without a recipe."""

import json
import subprocess
from pathlib import Path
from typing import Any

from buildsys.execution.running.runner import LAUNCHER
from buildsys.execution.tools import environments
from tests.conftest import REPOSITORY
from tests.tools.places import read, tool_environment


def run_step(
    folder: Path,
    env: str,
    module: str,
    inputs: dict[str, Path],
    outputs: dict[str, Path],
    params: dict[str, Any],
    code: int = 0,
) -> str:
    """Run a step, check its exit code, and return its messages."""
    _, python = environments.ensure(env, print)
    error, request = folder / "error.txt", folder / "request.json"
    error.unlink(missing_ok=True)
    places = {
        name: {key: str(path) for key, path in group.items()}
        for name, group in (("inputs", inputs), ("outputs", outputs))
    }
    request.write_text(json.dumps({**places, "params": params, "error": str(error)}))
    run = subprocess.run(
        [str(python), "-s", str(LAUNCHER), module, str(request)],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        env=tool_environment(python, folder),
    )
    told = error.read_text() if error.exists() else run.stderr
    assert run.returncode == code, told
    return told


def evaluate(folder: Path, script: str, *words: str) -> Any:
    """Run a script in the environment `evaluate`, with the repository as its first argument; return
    the JSON that it prints.
    """
    _, python = environments.ensure("evaluate", print)
    done = subprocess.run(
        [str(python), "-c", script, str(REPOSITORY), *words],
        cwd=folder,
        env=tool_environment(python, folder),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def make_noise(folder: Path, side: int) -> Path:
    """Write four prepared images of smooth noise."""
    code = (
        "import sys, numpy as np; from pathlib import Path;"
        "from buildsys.steps.lib.images import prepared_images;"
        f"c = np.random.default_rng(0).integers(0, 256, (4, {side // 8}, {side // 8}, 3));"
        "p = np.kron(c, np.ones((1, 8, 8, 1))).astype(np.uint8);"
        "p[:, 0, 0], p[:, 0, 1] = 0, 255;"
        "prepared_images.save(Path(sys.argv[1]), p, ['noise'] * 4)"
    )
    _, python = environments.ensure("evaluate", print)
    command = [str(python), "-c", code, str(folder)]
    subprocess.run(command, cwd=REPOSITORY, check=True, env=tool_environment(python))
    return folder


def examine(
    folder: Path, model: Path, pictures: Path | None, classes: int, trained: bool
) -> dict[str, Any]:
    """The verdict of the signal check on a TFLite file."""
    inputs = {"tflite": model} | ({"pictures": pictures} if pictures else {})
    verdict = folder / "verdict.json"
    params = {"classes": classes, "trained": trained}
    run_step(folder, "evaluate", "examine_tflite", inputs, {"verdict": verdict}, params)
    return read(verdict)
