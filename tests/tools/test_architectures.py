"""The table of Ultralytics' architectures compared with the installed version."""

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
import numpy as np
import shapes, vision
from buildsys.steps.lib.families import ultralytics_head, ultralytics_setup
from buildsys.steps.lib.families.ultralytics_architectures import architecture_strides
from buildsys.steps.lib.families.ultralytics_networks import HEAD_TASKS, branches_of, heads_of
from buildsys.steps.lib.heads import decoders, oriented_boxes, yolo26_decoding
from buildsys.steps.lib.heads.branches import layout, of_branch
from buildsys.steps.lib.heads.outputs import head_outputs
from buildsys.steps.lib.runtime.torch_light import without_torchvision

with without_torchvision():
    ultralytics_setup.prepare(Path.cwd())
import torch, ultralytics, yaml
from ultralytics import YOLO

taken, side = re.compile(sys.argv[2]), int(sys.argv[3])


def answer(model, picture):
    with torch.no_grad():
        found = model(picture)
    return [v.numpy() for v in (found if isinstance(found, (tuple, list)) else (found,))
            if hasattr(v, "shape")]


def ours(head, values, task, facts):
    if task == "obb":
        if layout(head) == "raw":
            return oriented_boxes.decode_raw(values, side, side)
        if layout(head) == "yolo26-raw":
            return yolo26_decoding.decode_turned(values, side, side)
        return oriented_boxes.decode_detections(values["detections"], len(facts["classes"]))
    return decoders.decode(
        values, head, side, side, len(facts["classes"]), facts["keypoint_dims"]
    )


def shipped(head, values, task, facts):
    if task == "obb":
        return shapes.decode_turned(values, facts | {"head": head}, side, side)
    return vision.decode(values, facts | {"head": head}, side, side)


def distance(first, second):
    return max(float(abs(a - b).max()) for a, b in zip(first, second) if a.size)


for path in sorted((Path(ultralytics.__file__).parent / "cfg" / "models").rglob("*.yaml")):
    name, sizes = path.stem, list(yaml.safe_load(path.read_text()).get("scales") or ())
    version = re.match(r"yolo(e-)?v?[0-9]+$|yolo(e-)?v?[0-9]+(?=-)", name)
    if version and sizes:
        name = name.replace(version[0], version[0] + sizes[0], 1)
    if not taken.fullmatch(name):
        print("BUILT", json.dumps({"name": name}), flush=True)
        continue
    network = YOLO(f"{name}.yaml")
    task, whole, strides = network.task, network.model.float().eval(), architecture_strides(name)
    last = whole.model[-1]
    points = list(getattr(last, "kpt_shape", (0, 0)))
    classes = getattr(last, "nc", 0) or last.linear.out_features
    facts = {"classes": [""] * classes, "keypoints": points[0], "keypoint_dims": points[1]}
    picture, outputs, apart = torch.rand(1, 3, side, side), {}, 0.0
    branches = branches_of(name)
    for branch in branches:
        decoded = {}
        own = whole if branch == branches[-1] else copy.deepcopy(whole)
        fused = ultralytics_head.fuse(own, of_branch("raw", branch))
        head_before = dict(vars(fused.model[-1]))
        for word, plain in heads_of(name):
            if task not in dict(HEAD_TASKS).get(word, (task,)):
                continue
            head = of_branch(plain, branch)
            ultralytics_head.set_head(fused, head)
            found = answer(fused, picture)
            vars(fused.model[-1]).clear()  # the next head is set on the same network
            vars(fused.model[-1]).update(head_before)
            outputs[head] = [list(v.shape) for v in found]
            wanted = head_outputs(head, side, side, classes, *points, task, strides)
            values = {tensor.name: v for tensor, v in zip(wanted, found)}
            if task != "classify":
                decoded[head] = [ours(head, values, task, facts), shipped(head, values, task, facts)]
        ways = [way for pair in decoded.values() for way in pair]
        apart = max([apart, *(distance(way, ways[0]) for way in ways[1:])])
    print("BUILT", json.dumps({"name": name, "outputs": outputs, "apart": apart, "task": task,
                               "classes": classes, "keypoints": points}), flush=True)
"""


def test_every_architecture_is_exported_as_described_or_refused_with_a_reason(
    tmp_path: Path,
) -> None:
    """Every architecture of Ultralytics is exported as described, or refused with a reason."""
    family = networks()["ultralytics"]
    _, python = environments.ensure("ultralytics", print)
    command = [str(python), "-c", _BUILD, str(REPOSITORY), family.architectures, str(_SIDE)]
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
    assert {"yolov8n-p2", "yolov8n-p6", "yolov8n-world", "rtdetr-l", "yolo26n-seg"} <= names
    unknown = {name for name in names if not _is_described(name)}
    assert not unknown, "neither taken nor refused with a reason"
    for network in (network for network in found if "task" in network):
        name, task, classes = network["name"], network["task"], network["classes"]
        points, values = network["keypoints"]
        assert family.task_of(name) == task
        assert network["apart"] < 0.01, (
            f"{name}: boxes, scores, keypoints, by it, by us and by the programs of a package"
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
