"""The table of Ultralytics' architectures against the version that is installed: built, never trained."""

import json
import re
import subprocess
from pathlib import Path

import pytest

from buildsys.authoring.recipes.families import networks
from buildsys.execution.tools import environments
from buildsys.steps.lib.heads.outputs import head_outputs
from tests.conftest import REPOSITORY
from tests.tools.places import tool_environment

pytestmark = pytest.mark.tools

_SIDE = 64
_BUILD = """
import copy, json, re, sys
from pathlib import Path

sys.path[:0] = [sys.argv[1], sys.argv[1] + "/buildsys/templates/common"]
import vision
from buildsys.steps.lib.families import ultralytics_head, ultralytics_setup
from buildsys.steps.lib.families.ultralytics_architectures import architecture_strides
from buildsys.steps.lib.heads import yolov8_decoding
from buildsys.steps.lib.heads.outputs import head_outputs
from buildsys.steps.lib.runtime.torch_light import without_torchvision

with without_torchvision():
    ultralytics_setup.prepare(Path.cwd())
import torch, ultralytics, yaml
from ultralytics import YOLO

taken, heads, side = re.compile(sys.argv[2]), sys.argv[3].split(","), int(sys.argv[4])
for path in sorted((Path(ultralytics.__file__).parent / "cfg" / "models").rglob("*.yaml")):
    name, sizes = path.stem, list(yaml.safe_load(path.read_text()).get("scales") or ())
    version = re.match(r"yolo(e-)?v?[0-9]+$|yolo(e-)?v?[0-9]+(?=-)", name)
    if version and sizes:
        name = name.replace(version[0], version[0] + sizes[0], 1)
    outputs = {}
    if taken.fullmatch(name):
        network = YOLO(f"{name}.yaml")
        fused = network.model.float().eval().fuse(verbose=False)
        last = fused.model[-1]
        shape = getattr(last, "kpt_shape", (0, 0))
        classes = getattr(last, "nc", 0) or last.linear.out_features
        picture, values = torch.rand(1, 3, side, side), {}
        for head in heads:
            if head in ("raw", "decoded") or network.task == "detect":
                model = copy.deepcopy(fused)
                ultralytics_head.set_head(model, head)
                with torch.no_grad():
                    found = model(picture)
                found = found if isinstance(found, (tuple, list)) else (found,)
                values[head] = found
                outputs[head] = [list(v.shape) if hasattr(v, "shape") else [] for v in found]
        apart = 0.0
        if network.task == "detect":
            strides = architecture_strides(name)
            names = [t.name for t in head_outputs("raw", side, side, classes, 0, 0, "", strides)]
            raw = {n: v.numpy() for n, v in zip(names, values["raw"])}
            ours = yolov8_decoding.decode_raw(raw, side, side, 0)
            theirs = yolov8_decoding.decode_detections(values["decoded"][0].numpy(), classes, 0)
            shipped = vision.decode(raw, {"head": "raw", "keypoint_dims": 0}, side, side)
            pairs = [*zip(ours[:2], theirs[:2]), *zip(shipped[:2], theirs[:2])]
            apart = max(float(abs(a - b).max()) for a, b in pairs)
        facts = {"apart": apart, "task": network.task, "classes": classes, "keypoints": list(shape)}
        print("BUILT", json.dumps({"name": name, "outputs": outputs, **facts}), flush=True)
    else:
        print("BUILT", json.dumps({"name": name}), flush=True)
"""


def test_every_architecture_is_exported_as_described_or_refused_with_a_reason(
    tmp_path: Path,
) -> None:
    """A name of Ultralytics' is neither trained for nothing nor unknown here."""
    family = networks()["ultralytics"]
    heads = ",".join(name for name, _ in family.heads)
    _, python = environments.ensure("ultralytics", print)
    command = [str(python), "-c", _BUILD, str(REPOSITORY), family.architectures, heads, str(_SIDE)]
    run = subprocess.run(
        command,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        env=tool_environment(python, tmp_path),
    )
    assert run.returncode == 0, run.stderr
    lines = [line.partition(" ")[2] for line in run.stdout.splitlines() if line[:6] == "BUILT "]
    found = [json.loads(line) for line in lines]
    names = {network["name"] for network in found}
    assert {"yolov8n-p2", "yolov8n-p6", "yolov8n-world", "rtdetr-l", "yolov8n-seg"} <= names
    unknown = {name for name in names if not _is_described(name)}
    assert not unknown, "neither taken nor refused with a reason"
    for network in (network for network in found if "task" in network):
        name, task, classes = network["name"], network["task"], network["classes"]
        points, values = network["keypoints"]
        assert family.task_of(name) == task
        assert network["apart"] < 0.01, (
            f"{name}: boxes in pixels and scores, decoded by us and by it"
        )
        for head, shapes in network["outputs"].items():
            wanted = head_outputs(
                head, _SIDE, _SIDE, classes, points, values, task, family.strides(name)
            )
            given = [tuple(shape) for shape in shapes[: len(wanted)]]
            assert given == [tensor.shape for tensor in wanted], f"{name}, {head}"


def _is_described(name: str) -> bool:
    family = networks()["ultralytics"]
    taken = re.fullmatch(family.architectures, name) is not None
    return taken != (family.architecture_problem(name) is not None)
