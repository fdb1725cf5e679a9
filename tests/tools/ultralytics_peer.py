"""Compares a build's checkpoint with Ultralytics' own `predict` and `val`, in their environment."""

import json
import subprocess
from pathlib import Path
from typing import Any

from buildsys.execution.store.store import Store
from buildsys.execution.tools import environments
from tests.conftest import REPOSITORY
from tests.tools.places import read, store_of, tool_environment

COUNTED = "val, counted by COCO"
"""Figures of the detections that `val` writes. Its own are of boxes that do not end at the border, under
a curve that ends at .995: where the border cuts objects they are lower by hundredths.
"""


def compare(
    root: Path, build: str, scratch: Path, cut: bool = False, head: str = "decoded"
) -> dict[str, Any]:
    """What `ultralytics_cases` finds of a build, as `recipe/target`, in a workspace with its own store.

    `cut`: on the same images, cut so that objects end at the border. `head`: see there.
    """
    params = fetch_inputs(root, build, scratch)
    task, frame = params["task"], params["preprocessing"]
    described = scratch / "data" / ("" if task == "classify" else "data.yaml")
    request = {
        "checkpoint": str(scratch / "checkpoint.pt"),
        "data": str(scratch / "cut" / "data.yaml" if cut else described),
        "task": task,
        "size": [frame["height"], frame["width"]],
        "split": params["split"]["name"],
        "scratch": str(scratch / "scratch"),
        "head": head,
        "keypoints": params["keypoints"],
        "dims": params["keypoint_dims"],
        "sigmas": params["sigmas"],
    }
    if cut:
        request["cut"] = str(scratch / "data")
    _, python = environments.ensure("ultralytics", print)
    run = subprocess.run(
        [str(python), "-m", "tests.tools.ultralytics_cases", json.dumps(request)],
        cwd=REPOSITORY,
        env={**tool_environment(python), "PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    found: dict[str, Any] = json.loads(run.stdout)
    return found


def fetch_inputs(root: Path, build: str, scratch: Path) -> dict[str, Any]:
    """What the checkpoint of a build was measured with, and its parameters; `checkpoint.pt`, `data/`."""
    steps = read(root / "build" / build / "manifest.json")["steps"]
    (step,) = (step for step in steps if step["stage"] == "evaluate-checkpoint")
    store = Store(store_of(root))
    store.fetch(step["inputs"]["checkpoint"], scratch / "checkpoint.pt", False)
    store.fetch(step["inputs"]["dataset"], scratch / "data", True)
    params: dict[str, Any] = step["params"]
    return params


def check_detections(found: dict[str, Any], least: int) -> None:
    """Check for the same objects, at least `least`: boxes within half a pixel, scores within 0.001."""
    told = found["detections"]
    assert told["ours"] == told["theirs"] >= least, told
    assert told["unmatched"] == 0, told
    assert max(told["box"], told["keypoints"], told["corners"]) < 0.5, told
    assert told["score"] < 0.001, told
