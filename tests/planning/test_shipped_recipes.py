"""The recipes of this repository: each is planned, and common steps are shared."""

import shutil

import pytest

from buildsys.graph import Plan, WaitingPlan
from tests.authoring.sample_workspace import by_stage, plan_all
from tests.conftest import REPOSITORY

TASKS = ("detect", "segment", "classify", "pose", "obb")
SCHEMES = ("float32", "float16", "int8")
TARGETS = ("nvidia-rtx-aot", "nvidia-a100", "nvidia-rtx-3060", "jetson-orin", "nvidia-local")

pytestmark = pytest.mark.xdist_group("shipped recipes")  # read once for all tests


@pytest.fixture(scope="module")
def plans(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Plan]:
    """The plans by build id, from a copy of the committed recipes."""
    root = tmp_path_factory.mktemp("shipped")
    for folder in ("recipes", "weights"):
        shutil.copytree(REPOSITORY / folder, root / folder)
    for name in ("dodo.py", "buildsys.lock"):
        shutil.copyfile(REPOSITORY / name, root / name)
    found = plan_all(root)
    assert not found.errors, "\n".join(error.render() for error in found.errors)
    return {plan.build: plan for plan in found.plans}


def test_every_recipe_is_planned(plans: dict[str, Plan]) -> None:
    """Every shipped recipe can be planned."""
    files = {path.stem for path in (REPOSITORY / "recipes").glob("[!_]*.yaml")}
    assert {plan.recipe for plan in plans.values()} == files
    waiting = {plan.recipe for plan in plans.values() if isinstance(plan, WaitingPlan)}
    assert waiting == {"person-pose"}, "whose weights and pictures are the user's"


@pytest.mark.parametrize("task", TASKS)
def test_engines_of_a_task_come_from_one_export(plans: dict[str, Plan], task: str) -> None:
    """All engines of a task share one export."""
    found = {
        (scheme, target): by_stage(plans[f"tensorrt-{task}-{scheme}@{target}"])
        for scheme in SCHEMES
        for target in TARGETS
    }
    shared = {"export"} if task == "classify" else {"train", "export", "evaluate-onnx"}
    for stage in shared:
        assert len({stages[stage].id for stages in found.values()}) == 1, stage
    # one of each precision per board; this machine's may equal one of them
    assert len({stages["engine"].id for stages in found.values()}) >= 12
    assert len({s["quantize"].id for (scheme, _), s in found.items() if scheme == "int8"}) == 1


@pytest.mark.parametrize("task", ["detect", "pose"])
def test_engines_of_tags_train_nothing_anew(plans: dict[str, Plan], task: str) -> None:
    """Engines of tags share the trainings of fiducial-detect and fiducial-pose."""
    board = by_stage(plans[f"fiducial-{task}@grove-vision-ai-v2"])
    engine = by_stage(plans[f"tensorrt-{task}-int8@nvidia-rtx-aot"])
    same = ("train", "evaluate-checkpoint", "export", "evaluate-onnx", "calibration")
    assert [board[stage].id for stage in same] == [engine[stage].id for stage in same]
    assert "verdict-gate" in {item.name for item in engine["package"].inputs}
