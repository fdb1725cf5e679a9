"""Which steps come first: those before the longest chain."""

from pathlib import Path

from buildsys.execution.session.session import Session
from buildsys.execution.session.step_order import remaining_seconds, run_seconds
from buildsys.graph import Step, build_plans


def steps_of_workspace(root: Path) -> dict[str, Step]:
    """Every step of a workspace's plans."""
    session = Session(root)
    steps = {step.id: step for plan in build_plans(session.loaded.plans) for step in plan.steps}
    session.close()
    return steps


def test_a_step_has_more_left_than_each_that_needs_it(workspace: Path) -> None:
    """Its own time comes on top of the longest chain after it; unknown modules count, too."""
    steps = steps_of_workspace(workspace)
    usual = {"train_ultralytics": 3600.0, "convert_onnx2tf": 10.0}
    left = remaining_seconds(steps.values(), lambda step: usual.get(step.module))
    assert set(left) == set(steps)
    for step in steps.values():
        after = [
            left[other.id]
            for other in steps.values()
            if step.id in {item.step for item in other.inputs}
        ]
        assert left[step.id] == usual.get(step.module, 5.0) + max(after, default=0.0)
    assert len(set(left.values())) > 5


def test_conversions_come_before_side_branches(workspace: Path) -> None:
    """The network's way to the board is longer than any evaluation of an earlier form."""
    steps = steps_of_workspace(workspace)
    seconds = remaining_seconds(steps.values(), lambda step: None)
    left = {step.stage: seconds[step.id] for step in steps.values()}
    assert left["train"] > left["export"] > left["convert"] > left["quantize"]
    assert left["quantize"] > left["evaluate-checkpoint"]


def test_a_run_takes_its_longest_chain_or_its_share_of_all_steps(workspace: Path) -> None:
    """Two steps at a time take half of all seconds, but no less than the longest chain."""
    steps = list(steps_of_workspace(workspace).values())
    chain = max(remaining_seconds(steps, lambda step: 2.0).values())
    assert run_seconds(steps, lambda step: 2.0, 1) == 2.0 * len(steps)
    assert run_seconds(steps, lambda step: 2.0, 2) == max(len(steps), chain)
    assert run_seconds(steps, lambda step: 2.0, 1000) == chain
    assert run_seconds([], lambda step: 2.0, 1) == 0.0


def test_a_run_with_a_training_of_unknown_length_has_no_estimate(workspace: Path) -> None:
    """The seconds of the other steps would be taken for those of the run."""
    steps = list(steps_of_workspace(workspace).values())
    assert run_seconds(steps, lambda step: None if step.trains else 2.0, 1) == 0.0
