"""Plans are cached between runs, complete and only as long as they are valid."""

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from buildsys.execution.places import Workspace
from buildsys.execution.session.loading import load_plans
from buildsys.execution.state import fingerprint, plan_cache
from buildsys.execution.state.unchanged import read
from buildsys.graph import BuildPlan, SelectionPlan, WaitingPlan, steps_of
from tests.authoring.sample_workspace import (
    GIVEN,
    ONNX,
    TFLITE,
    TRAINED,
    expecting,
    make_workspace,
    plan_all,
    write_recipe,
    write_target,
)


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    """Datasets and weights, no recipe yet."""
    return make_workspace(tmp_path / "workspace")


def test_plans_survive_their_cache(workspace: Path) -> None:
    """Plans from the cache are the same as new ones."""
    for name, recipe in (("a", TRAINED), ("b", GIVEN), ("c", TFLITE), ("d", ONNX)):
        write_recipe(workspace, name, recipe)
    write_recipe(workspace, "broken", TFLITE.replace("host", "hots").replace("3.9", "5.2"))
    write_recipe(workspace, "later", GIVEN.replace("person.pt", "later.pt"))
    first = load_plans(Workspace(workspace))
    assert first.errors
    assert load_plans(Workspace(workspace)) == first == plan_all(workspace)
    installation = fingerprint.installation(Workspace(workspace))
    for name in "abcd":
        path = workspace / "recipes" / f"{name}.yaml"
        assert plan_cache.find(Workspace(workspace), path, installation), "it is not planned again"


_SECOND_RUN = """\
import sys
from pathlib import Path
from buildsys.execution.session.session import Session

session = Session(Path(sys.argv[1]))
print(len(session.plans), *sorted({"pydantic", "ruamel", "ruamel.yaml"} & sys.modules.keys()))
session.close()
"""


def _run(workspace: Path) -> str:
    command = [sys.executable, "-W", "error", "-c", _SECOND_RUN, str(workspace)]
    ran = subprocess.run(command, capture_output=True, text=True, check=True, env=os.environ)
    return ran.stdout.strip()


@pytest.mark.slow
def test_second_run_parses_nothing(workspace: Path) -> None:
    """A second run parses nothing."""
    write_recipe(workspace, "tags", TRAINED)
    write_recipe(workspace, "given", TFLITE)
    assert _run(workspace) == "4 pydantic ruamel ruamel.yaml"
    assert _run(workspace) == "4"
    write_recipe(workspace, "given", TFLITE + "  - xiao-esp32s3\n")
    assert _run(workspace) == "5 pydantic ruamel ruamel.yaml"


_TWO_NAMES = """\
matrix:
  use:
    calibrates:
      quantization: {scheme: int8, calibration: {split: val, count: 20, seed: 0}}
      evaluate: none
    measures:
      quantization: {scheme: float16}
      evaluate: {split: val}
targets: [host]
"""
"""Two builds that share prepared images, the calibration images of one and the probe of the other."""


def test_a_shared_step_keeps_each_builds_name_for_it(workspace: Path) -> None:
    """A shared step keeps each build's name for it in the cache."""
    write_recipe(workspace, "both", TRAINED.partition("quantization:")[0] + _TWO_NAMES)
    made, kept = (
        [{step.id: step.stage for step in steps_of(plan)} for plan in load_plans(place).plans]
        for place in (Workspace(workspace), Workspace(workspace))
    )
    assert kept == made
    one, other = kept
    named = {(one[step], other[step]) for step in one.keys() & other.keys()}
    assert ("calibration", "probe") in named


def test_every_kind_of_plan_comes_back_as_what_it_was(workspace: Path) -> None:
    """Every kind of plan is restored as the same kind."""
    select = "matrix: {input.size: [160, 192]}\nselect: {maximize: box.mAP50-95}\ntargets: ["
    write_recipe(workspace, "best", TRAINED.replace("targets: [", select))
    write_recipe(workspace, "later", TRAINED.replace("weights/", "weights/not-here-"))
    made = load_plans(Workspace(workspace)).plans
    kept = load_plans(Workspace(workspace)).plans
    assert kept == made
    assert {type(plan) for plan in kept} == {BuildPlan, WaitingPlan, SelectionPlan}


Change = Callable[[Path], object]


def _data_comes(workspace: Path) -> None:
    recipe = TRAINED.replace("data/tags", "data/new")
    write_recipe(workspace, "tags", recipe)
    assert load_plans(Workspace(workspace)).errors
    (workspace / "data" / "tags").rename(workspace / "data" / "new")


def _split_comes(workspace: Path) -> None:
    split = workspace / "data" / "tags" / "images" / "val"
    split.rename(workspace / "kept")
    write_recipe(workspace, "tags", TRAINED)
    assert load_plans(Workspace(workspace)).errors
    (workspace / "kept").rename(split)


def _image_comes(workspace: Path) -> None:
    image = workspace / "data" / "tags" / "images" / "val" / "0.jpg"
    image.unlink()
    write_recipe(workspace, "tags", TRAINED)
    assert load_plans(Workspace(workspace)).errors
    image.touch()


def _target_comes(workspace: Path) -> None:
    write_recipe(workspace, "tags", TRAINED.replace("xiao-esp32s3", "mine"))
    assert load_plans(Workspace(workspace)).errors
    text = "label: my board\npipelines: {int8: [convert_tflite, package_flash]}\n"
    write_target(workspace, "mine", text)


def _contract_comes(workspace: Path) -> None:
    write_recipe(workspace, "tags", TRAINED + "firmware: mine\n")
    (workspace / "targets" / "firmware").mkdir(parents=True)
    assert load_plans(Workspace(workspace)).errors
    text = "name: mine\nlabel: my firmware\ntask: pose\nhead: raw\nsource: me\nverified: true\n"
    (workspace / "targets" / "firmware" / "mine.yaml").write_text(text, encoding="utf-8")


def _recipe_is_mended(workspace: Path) -> None:
    write_recipe(workspace, "tags", TRAINED.replace("epochs", "epoch"))
    assert load_plans(Workspace(workspace)).errors
    write_recipe(workspace, "tags", TRAINED)


def _recipe_goes(workspace: Path) -> None:
    write_recipe(workspace, "tags", TRAINED)
    broken = write_recipe(workspace, "broken", TRAINED.replace("epochs", "epoch"))
    assert load_plans(Workspace(workspace)).errors
    broken.unlink()


def _weights_come(workspace: Path) -> None:
    weights = workspace / "weights" / "tags.pt"
    kept = weights.rename(workspace / "kept.pt")
    write_recipe(workspace, "tags", TRAINED)
    assert all(isinstance(p, WaitingPlan) for p in load_plans(Workspace(workspace)).plans)
    kept.rename(weights)


_MENDED: dict[str, Change] = {
    "data-comes": _data_comes,
    "split-comes": _split_comes,
    "image-comes": _image_comes,
    "target-comes": _target_comes,
    "contract-comes": _contract_comes,
    "recipe-is-mended": _recipe_is_mended,
    "recipe-goes": _recipe_goes,
    "weights-come": _weights_come,
}


@pytest.mark.parametrize("mend", expecting(_MENDED, {}))
def test_what_was_mended_is_seen(workspace: Path, mend: Change) -> None:
    """A corrected mistake is noticed."""
    mend(workspace)
    plans = load_plans(Workspace(workspace))
    assert not plans.errors
    assert not any(isinstance(plan, WaitingPlan) for plan in plans.plans)
    assert plans == plan_all(workspace)


def test_shared_step_remembers_both_recipes(workspace: Path) -> None:
    """A shared step keeps the lines of both recipes."""
    write_recipe(workspace, "one", TRAINED)
    write_recipe(workspace, "two", "\n\n" + TRAINED)
    first = load_plans(Workspace(workspace))
    assert load_plans(Workspace(workspace)) == first


def test_damaged_cache_is_made_anew(workspace: Path) -> None:
    """A damaged cache is made again."""
    write_recipe(workspace, "tags", TRAINED)
    first = load_plans(Workspace(workspace))
    time.sleep(0.06)  # files written just now are not cached
    assert load_plans(Workspace(workspace)) == first
    cache = Workspace(workspace).plans / "tags.json"
    whole = cache.read_bytes()
    assert read(cache)
    for damaged in (whole[:1000], *(flip(whole, 65 + 997 * step) for step in range(20))):
        cache.write_bytes(damaged)
        assert read(cache) == {}
    assert load_plans(Workspace(workspace)) == first
    cache.unlink()
    os.mkfifo(cache)
    assert load_plans(Workspace(workspace)) == first


def flip(data: bytes, bit: int) -> bytes:
    """The data with one flipped bit."""
    place, number = divmod(bit % (8 * len(data)), 8)
    return data[:place] + bytes([data[place] ^ 1 << number]) + data[place + 1 :]
