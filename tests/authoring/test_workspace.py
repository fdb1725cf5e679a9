"""Bases, variants, named datasets and extended targets: their meaning, and errors in the right
file.
"""

import json
import re
from pathlib import Path

import pytest

from buildsys.graph import BuildPlan, SelectionPlan
from tests.authoring.sample_workspace import (
    TFLITE,
    TRAINED,
    plan_all,
    plan_good,
    write_recipe,
    write_target,
)


def _params(plan: BuildPlan, stage: str) -> dict[str, object]:
    (step,) = [step for step in plan.steps if step.stage == stage]
    params = json.loads(step.params)
    assert isinstance(params, dict)
    return params


def _step_id(plan: BuildPlan, stage: str) -> str:
    return next(step.id for step in plan.steps if step.stage == stage)


def _base(workspace: Path, name: str, text: str) -> None:
    (workspace / "recipes" / f"{name}.yaml").write_text(text, encoding="utf-8")


def _told(workspace: Path) -> list[str]:
    return [error.render() for error in plan_all(workspace).errors]


def test_base_is_overridden_key_by_key(workspace: Path) -> None:
    """A recipe overrides single keys of its base."""
    _base(workspace, "_pose", TRAINED)
    write_recipe(workspace, "fast", "extends: _pose\ntrain: {seed: 7}\ntargets: [xiao-esp32s3]\n")
    write_recipe(workspace, "plain", "extends: _pose\ntrain: null\nevaluate: null\n")
    plans = plan_good(workspace)
    assert list(plans) == [
        "fast@xiao-esp32s3",
        "plain@grove-vision-ai-v2",
        "plain@xiao-esp32s3",
    ]
    trained = _params(plans["fast@xiao-esp32s3"], "train")
    assert (trained["epochs"], trained["seed"]) == (4, 7)
    assert all(step.stage != "train" for step in plans["plain@xiao-esp32s3"].steps)
    origins = {
        origin.label: origin.path
        for step in plans["fast@xiao-esp32s3"].steps
        if step.stage == "train"
        for origin in step.origins
    }
    assert origins["train.epochs"] == "recipes/_pose.yaml"
    assert origins["train.seed"] == "recipes/fast.yaml"


def test_mistake_of_a_base_is_reported_in_the_base_once(workspace: Path) -> None:
    """A mistake in a base is reported once, in the base's file."""
    _base(workspace, "_pose", TRAINED.replace("epochs: 4", "epochs: 0"))
    for name in ("one", "two"):
        write_recipe(workspace, name, "extends: _pose\n")
    (told,) = _told(workspace)
    assert told.startswith(
        "recipes/_pose.yaml:8:17: error: `epochs` must be from 1 to 1000000, not 0"
    )
    write_recipe(workspace, "two", "extends: _pose\ntrain: {epochs: -1}\n")
    assert [line.split(" ")[0] for line in _told(workspace)] == [
        "recipes/_pose.yaml:8:17:",
        "recipes/two.yaml:3:17:",
    ]


def test_bases_have_one_level(workspace: Path) -> None:
    """A base cannot extend another base."""
    _base(workspace, "_a", TFLITE)
    _base(workspace, "_b", "extends: _a\n")
    write_recipe(workspace, "c", "extends: _b\n")
    (told,) = _told(workspace)
    assert "recipes/_b.yaml extends _a; only one level is allowed" in told


def test_matrix_multiplies_and_trains_once(workspace: Path) -> None:
    """Variants of a matrix share one training and have different ids."""
    sweep = "matrix:\n  input.size: [160, [192, 224]]\n  quantization.granularity: [per-tensor, per-channel]\n"
    text = (
        TRAINED.split("targets:", maxsplit=1)[0]
        + sweep
        + "targets: [host, {target: host, as: other, quantization: {scheme: float16}}]\n"
    )
    write_recipe(workspace, "sweep", text)
    plans = plan_good(workspace)
    host = [plan for build, plan in plans.items() if build.endswith("@host")]
    assert [plan.build for plan in host] == [
        "sweep-160-per-channel@host",
        "sweep-160-per-tensor@host",
        "sweep-192x224-per-channel@host",
        "sweep-192x224-per-tensor@host",
    ]
    assert len({_step_id(plan, "train") for plan in plans.values()}) == 1
    assert len({_step_id(plan, "export") for plan in host}) == 2
    assert len({plan.package for plan in plans.values()}) == len(plans)
    frame = _params(host[0], "samples")["preprocessing"]
    assert isinstance(frame, dict)
    assert (frame["height"], frame["width"]) == (160, 160)


def test_named_patches_change_whole_blocks(workspace: Path) -> None:
    """Named patches replace whole blocks."""
    text = """\
input: {size: 192}
train: {epochs: 4}
matrix:
  task:
    pose:
      source: {family: ultralytics, task: pose, architecture: yolov8n-pose, weights: random}
      dataset: {path: data/tags/data.yaml}
    boxes:
      source: {family: ultralytics, task: detect, architecture: yolov8n, weights: random}
      dataset: {path: data/flat/data.yaml, split: {val: 0.2}}
targets: [checkpoint]
"""
    write_recipe(workspace, "product", text)
    plans = plan_good(workspace)
    assert list(plans) == ["product-boxes@checkpoint", "product-pose@checkpoint"]
    assert _params(plans["product-boxes@checkpoint"], "train")["architecture"] == "yolov8n"


def test_entry_overrides_the_variant(workspace: Path) -> None:
    """An entry of `targets` takes precedence over the variant."""
    text = TRAINED.replace(
        "targets: [",
        "matrix: {input.size: [160, 224]}\n"
        "targets: [{target: host, input: {size: 96}, quantization: {scheme: float16}}, ",
    )
    write_recipe(workspace, "sweep", text)
    plans = plan_good(workspace)
    frames = [
        _params(plans[f"sweep-{size}@host"], "samples")["preprocessing"] for size in (160, 224)
    ]
    assert all(isinstance(frame, dict) and frame["height"] == 96 for frame in frames)


def test_variants_of_two_recipes_cannot_share_an_id(workspace: Path) -> None:
    """Variants of two recipes with the same id are an error."""
    write_recipe(workspace, "a", "matrix: {k: {b: null}}\n" + TFLITE)
    write_recipe(workspace, "a-b", TFLITE)
    (told,) = _told(workspace)
    assert ".yaml: error: its build a-b@" in told
    assert told.startswith("recipes/a")


def test_selection_is_a_build_that_chooses(workspace: Path) -> None:
    """A selection is a build that publishes the chosen variant."""
    text = TRAINED.replace(
        "targets: [",
        "matrix: {input.size: [160, 192]}\nselect: {maximize: box.mAP50-95}\ntargets: [",
    )
    write_recipe(workspace, "best", text)
    plans = {plan.build: plan for plan in plan_all(workspace).plans}
    assert plans["best@xiao-esp32s3"] == SelectionPlan(
        build="best@xiao-esp32s3",
        recipe="best",
        target="xiao-esp32s3",
        label=plans["best-160@xiao-esp32s3"].label,
        candidates=("best-160@xiao-esp32s3", "best-192@xiao-esp32s3"),
        metric="box.mAP50-95",
        maximize=True,
    )


def test_named_datasets_of_the_workspace(workspace: Path, tmp_path: Path) -> None:
    """Recipes can use datasets by their names in buildsys.yaml."""
    (workspace / "data" / "tags").rename(tmp_path / "elsewhere")
    named = f"datasets:\n  tags: {{format: ultralytics, path: {tmp_path}/elsewhere/data.yaml}}\n"
    (workspace / "buildsys.yaml").write_text(named, encoding="utf-8")
    recipe = TRAINED.replace("dataset: {path: data/tags/data.yaml}", "dataset: tags")
    write_recipe(workspace, "tags", recipe)
    assert len(plan_good(workspace)) == 2
    (workspace / "buildsys.yaml").write_text(named.replace("format", "fromat"), encoding="utf-8")
    (told,) = _told(workspace)
    assert told.startswith("buildsys.yaml:2:10: error: unknown key `fromat`")
    assert "did you mean `format`?" in told


def test_broken_workspace_file_is_reported(workspace: Path) -> None:
    """A mistake in buildsys.yaml is reported."""
    write_recipe(workspace, "given", TFLITE)
    (workspace / "buildsys.yaml").write_text("stroe: /big\n", encoding="utf-8")
    (told,) = _told(workspace)
    assert told.startswith("buildsys.yaml:1:1: error: unknown key `stroe`")


@pytest.mark.parametrize(
    ("block", "place", "why"),
    [
        ("{url: 's3://me:x@team'}", "1:15", "credentials do not belong in a URL"),
        ("{url: 's3://team', mode: read-write}", "1:28", "set BUILDSYS_REMOTE=URL and"),
        ("{url: 'gs://t', endpoint: 'https://h'}", "1:35", "is only for s3://"),
        ("{url: 's3://team', trusted: [me]}", "1:38", "a public key is ed25519:"),
        ("{url: 's3://team', key: x}", "1:28", "unknown key `key`"),
    ],
)
def test_mistakes_in_the_remote_have_a_place(
    workspace: Path, block: str, place: str, why: str
) -> None:
    """A mistake in `remote` is an error with its position."""
    write_recipe(workspace, "given", TFLITE)
    (workspace / "buildsys.yaml").write_text(f"remote: {block}\n", encoding="utf-8")
    (told,) = _told(workspace)
    assert told.startswith(f"buildsys.yaml:{place}: error: ")
    assert why in told


def test_target_extends_a_shipped_one(workspace: Path) -> None:
    """A target can extend a shipped one."""
    write_target(
        workspace, "my-grove", "extends: grove-vision-ai-v2\nlabel: mine\nvela: {version: '5.2'}\n"
    )
    write_recipe(workspace, "tags", TRAINED.replace("grove-vision-ai-v2", "my-grove"))
    plan = plan_good(workspace)["tags@my-grove"]
    (step,) = [step for step in plan.steps if step.stage == "compile"]
    assert "vela-5.2" in step.tool_env
    assert plan.label == "mine"


def test_target_may_change_a_shipped_one_of_its_name(workspace: Path) -> None:
    """A target can extend the shipped target of the same name."""
    write_target(
        workspace, "grove-vision-ai-v2", "extends: grove-vision-ai-v2\nvela: {version: '3.9'}\n"
    )
    write_recipe(workspace, "tags", TRAINED)
    plan = plan_good(workspace)["tags@grove-vision-ai-v2"]
    assert any(step.tool_env == "vela-3.9" for step in plan.steps)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "extends: grove\n",
            "targets/mine.yaml:2:10: error: `extends` names a target that does not exist: `grove`",
        ),
        (
            "extends: mine\n",
            "targets/mine.yaml:2:10: error: `extends` names a target that does not exist: `mine`",
        ),
        (
            "extends: grove-vision-ai-v2\nvela: {version: 5.2}\n",
            "targets/mine.yaml:3:17: error: `version` must be a quoted string, not a number",
        ),
    ],
)
def test_broken_target_extension(workspace: Path, text: str, message: str) -> None:
    """A mistake in an extending target is reported in its own file."""
    write_target(workspace, "mine", text)
    write_recipe(workspace, "tags", TRAINED.replace("grove-vision-ai-v2", "mine"))
    assert _told(workspace)[0].startswith(message)


def test_a_contract_that_is_not_used_breaks_no_recipe(workspace: Path) -> None:
    """A recipe whose firmware has no contract is right beside an unfinished contract."""
    (workspace / "targets" / "firmware").mkdir(parents=True)
    (workspace / "targets" / "firmware" / "unfinished.yaml").write_text("name: unfinished\n")
    weights = re.compile(r"weights: \{.*\}")
    recipe = weights.sub("weights: random", TRAINED).replace("pose", "segment", 1)
    write_recipe(workspace, "tags", recipe.replace("yolov8n-pose", "yolov8n-seg"))
    assert _told(workspace) == []


def test_own_contract_by_its_path(workspace: Path) -> None:
    """A recipe can name a contract by its path."""
    (workspace / "firmware").mkdir()
    text = "name: mine\nlabel: mine\ntask: pose\nhead: raw\nsource: me\nverified: true\n"
    (workspace / "firmware" / "mine.yaml").write_text(text, encoding="utf-8")
    write_recipe(workspace, "tags", TRAINED + "firmware: firmware/mine.yaml\n")
    assert len(plan_good(workspace)) == 2
    write_recipe(workspace, "tags", TRAINED + "firmware: firmware/yours.yaml\n")
    assert "firmware/yours.yaml does not exist" in _told(workspace)[0]
