"""Decisions about steps and their reasons, in memory, without processes or recipes."""

import gc
import json
import shutil
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from buildsys.errors import InputError
from buildsys.execution.state.action_keys import slice_digest
from buildsys.execution.state.decide import State
from buildsys.execution.store.action_entry import make_entry
from buildsys.graph import (
    BuildPlan,
    Decision,
    Input,
    Origin,
    Output,
    Source,
    Status,
    Step,
    StepResult,
)
from buildsys.lockfile import Line, Lock, Training, content_line, training_key
from tests.sample_steps import (
    again,
    changed,
    given,
    make_plan,
    make_state,
    make_step,
    output_of,
)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A user's file."""
    path = tmp_path / "model.bin"
    path.write_bytes(b"weights")
    return path


@pytest.fixture
def chain(source: Path) -> tuple[Step, Step, Step]:
    """Three steps: export, conversion, package."""
    export = make_step("export", given(source))
    convert = make_step("convert", output_of(export))
    return export, convert, make_step("pack", output_of(convert))


@pytest.fixture
def plan(chain: tuple[Step, Step, Step]) -> BuildPlan:
    """A build of the three steps."""
    return make_plan(*chain)


def make(state: State, step: Step, content: bytes = b"", passed: bool = True) -> None:
    """Record a finished step like a runner: bytes, action, record."""
    action_key = state.key(step)
    assert action_key is not None
    blob = state.store.put_bytes(content or step.id.encode())
    result = StepResult(outputs=((step.outputs[0].name, blob),), seconds=1.0, passed=passed)
    state.store.record(make_entry(step, action_key.key, result))
    state.finish(step, action_key, result)


def make_all(state: State, plan: BuildPlan) -> None:
    """Make every step."""
    for step in plan.steps:
        make(state, step)


def statuses(state: State, plan: BuildPlan) -> list[Status]:
    """Status of every step, in order."""
    return [state.decide(step).status for step in plan.steps]


def reasons(decision: Decision) -> list[str]:
    """The texts of the reasons."""
    return [str(reason) for reason in decision.reasons]


def test_a_first_build_runs_the_first_step_and_the_rest_waits_for_it(
    tmp_path: Path, plan: BuildPlan
) -> None:
    """In a first build the first step runs, and later steps wait for its output."""
    state = make_state(tmp_path, plan)
    assert statuses(state, plan) == [Status.STALE, Status.PENDING, Status.PENDING]
    assert reasons(state.decide(plan.steps[0])) == ["no recorded result"]
    assert reasons(state.decide(plan.steps[1])) == ["after export"]
    assert state.result("export") is None
    assert state.key(plan.steps[1]) is None


def test_a_known_result_whose_file_the_store_has_lost_is_no_new_one(
    tmp_path: Path, plan: BuildPlan
) -> None:
    """The reason is the store, in a workspace that never made the result."""
    state = make_state(tmp_path, plan)
    make(state, plan.steps[0])
    result = state.result("export")
    assert result is not None
    ((_, digest),) = result.outputs
    (blob,) = (tmp_path / "store").rglob(digest)
    blob.unlink()
    elsewhere = make_state(tmp_path, plan)
    assert reasons(elsewhere.decide(plan.steps[0])) == ["output missing from the store"]


def test_a_step_that_ran_makes_the_next_one_decidable(tmp_path: Path, plan: BuildPlan) -> None:
    """After a step has run, dependent decisions are made again in the same run."""
    state = make_state(tmp_path, plan)
    assert statuses(state, plan)[1] == Status.PENDING
    make(state, plan.steps[0])
    assert statuses(state, plan) == [Status.UP_TO_DATE, Status.STALE, Status.PENDING]


def test_nothing_changed_so_nothing_runs(tmp_path: Path, plan: BuildPlan) -> None:
    """Without changes nothing runs."""
    state = make_state(tmp_path, plan)
    make_all(state, plan)
    assert statuses(again(state, plan), plan) == [Status.UP_TO_DATE] * 3


def test_a_changed_parameter_is_a_reason_with_both_values_and_its_line(
    tmp_path: Path, plan: BuildPlan, chain: tuple[Step, Step, Step]
) -> None:
    """`input.size 64 → 96, recipes/tags.yaml:4`."""
    state = make_state(tmp_path, plan)
    make_all(state, plan)
    origin = Origin(parameter="size", label="input.size", path="recipes/tags.yaml", line=4)
    export = changed(chain[0], params=json.dumps({"size": 96}), origins=(origin,))
    other = make_plan(export, *chain[1:])
    state = again(state, other)
    assert statuses(state, other) == [Status.STALE, Status.PENDING, Status.PENDING]
    assert reasons(state.decide(export)) == ["input.size 64 → 96, recipes/tags.yaml:4"]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"code": "code-2"}, "the code of export changed"),
        ({"tool": "tool 1.1", "tool_identity": "lock-2"}, "tool 1.0 → 1.1"),
        ({"tool_identity": "lock-2"}, "the lock of the core changed"),
    ],
)
def test_code_and_tools_are_reasons_by_name(
    tmp_path: Path,
    plan: BuildPlan,
    chain: tuple[Step, Step, Step],
    change: dict[str, str],
    reason: str,
) -> None:
    """Changes of code, tool version and tool lock are named as reasons."""
    state = make_state(tmp_path, plan)
    make_all(state, plan)
    export = changed(chain[0], **change)
    state = again(state, make_plan(export, *chain[1:]))
    decision = state.decide(export)
    assert decision.status == Status.STALE
    assert reason in reasons(decision)


def test_a_changed_file_is_named(tmp_path: Path, plan: BuildPlan, source: Path) -> None:
    """A changed file is named by its label in the recipe."""
    state = make_state(tmp_path, plan)
    make_all(state, plan)
    source.write_bytes(b"other weights")
    decision = again(state, plan).decide(plan.steps[0])
    assert (decision.status, reasons(decision)) == (Status.STALE, ["model.bin changed"])


def test_equal_bytes_out_of_a_changed_step_stop_the_change_there(
    tmp_path: Path, plan: BuildPlan, source: Path
) -> None:
    """If a changed step gives equal bytes, later steps are up to date."""
    state = make_state(tmp_path, plan)
    make_all(state, plan)
    source.write_bytes(b"other weights")
    state = again(state, plan)
    assert statuses(state, plan) == [Status.STALE, Status.PENDING, Status.PENDING]
    make(state, plan.steps[0])
    assert statuses(state, plan) == [Status.UP_TO_DATE] * 3


def test_other_bytes_out_of_a_changed_step_are_the_reason_for_the_next(
    tmp_path: Path, plan: BuildPlan, source: Path
) -> None:
    """If a changed step gives other bytes, the next step names the output."""
    state = make_state(tmp_path, plan)
    make_all(state, plan)
    source.write_bytes(b"other weights")
    state = again(state, plan)
    make(state, plan.steps[0], b"another export")
    assert reasons(state.decide(plan.steps[1])) == ["the output of export changed"]


def test_a_change_that_is_taken_back_costs_nothing(
    tmp_path: Path, plan: BuildPlan, source: Path
) -> None:
    """Undoing a change runs nothing."""
    state = make_state(tmp_path, plan)
    make_all(state, plan)
    source.write_bytes(b"other weights")
    state = again(state, plan)
    make(state, plan.steps[0], b"another export")
    source.write_bytes(b"weights")
    assert statuses(again(state, plan), plan) == [Status.UP_TO_DATE] * 3


def test_what_another_workspace_made_is_restored(tmp_path: Path, plan: BuildPlan) -> None:
    """Results of another workspace are restored once, and are up to date afterwards."""
    made = make_state(tmp_path, plan)
    make_all(made, plan)
    here = make_state(tmp_path, plan)
    assert statuses(here, plan) == [Status.RESTORABLE] * 3
    assert here.result("pack") == made.result("pack")
    assert statuses(again(here, plan), plan) == [Status.UP_TO_DATE] * 3


def test_an_action_whose_bytes_are_gone_is_not_restored(tmp_path: Path, plan: BuildPlan) -> None:
    """An action whose bytes are missing is not restored."""
    made = make_state(tmp_path, plan)
    make_all(made, plan)
    shutil.rmtree(made.store.root / "blobs")
    here = make_state(tmp_path, plan)
    assert statuses(here, plan) == [Status.STALE, Status.PENDING, Status.PENDING]


def test_an_action_of_other_outputs_is_not_restored(
    tmp_path: Path, plan: BuildPlan, chain: tuple[Step, Step, Step]
) -> None:
    """An entry with other outputs than the step's counts as missing."""
    made = make_state(tmp_path, plan)
    make_all(made, plan)
    export = changed(chain[0], outputs=(Output(name="other", tree=False),))
    assert make_state(tmp_path, make_plan(export)).decide(export).status == Status.STALE
    action_key = made.key(chain[0])
    assert action_key is not None
    entry = made.store.recall(action_key.key)
    assert entry is not None
    for name, tree in (("made", True), ("other", False)):
        output = replace(entry.outputs[0], name=name, tree=tree)
        made.store.record(replace(entry, outputs=(output,)))
        here = make_state(tmp_path, plan)
        assert here.decide(chain[0]).status == Status.STALE


def test_bytes_that_are_read_and_not_there_make_their_step_run(
    tmp_path: Path, plan: BuildPlan
) -> None:
    """Missing bytes make their step run only if they are read."""
    state = make_state(tmp_path, plan)
    make_all(state, plan)
    shutil.rmtree(state.store.root / "blobs")
    state = again(state, plan)
    assert statuses(state, plan) == [Status.UP_TO_DATE] * 3
    state.require_bytes("convert")
    assert statuses(state, plan) == [Status.UP_TO_DATE, Status.MISSING, Status.PENDING]
    assert len(state.decide(plan.steps[1]).reasons) == 1
    make(state, plan.steps[1])
    assert statuses(state, plan) == [Status.UP_TO_DATE] * 3


def test_settling_asks_for_the_bytes_of_whatever_will_be_read(
    tmp_path: Path, plan: BuildPlan, chain: tuple[Step, Step, Step]
) -> None:
    """Settling requests the bytes of all inputs that will be read, as far back as they are missing."""
    state = make_state(tmp_path, plan)
    make_all(state, plan)
    shutil.rmtree(state.store.root / "blobs")
    other = make_plan(*chain[:2], changed(chain[2], code="code-2"))
    state = again(state, other)
    assert statuses(state, other) == [Status.UP_TO_DATE, Status.UP_TO_DATE, Status.STALE]
    state.request_inputs((other,))
    assert statuses(state, other) == [Status.MISSING, Status.PENDING, Status.PENDING]


def test_settling_asks_for_nothing_where_nothing_runs(tmp_path: Path, plan: BuildPlan) -> None:
    """If nothing runs, no bytes are requested."""
    state = make_state(tmp_path, plan)
    make_all(state, plan)
    shutil.rmtree(state.store.root / "blobs")
    state = again(state, plan)
    state.request_inputs((plan,))
    assert statuses(state, plan) == [Status.UP_TO_DATE] * 3


def test_a_red_verdict_rejects_what_needs_it(tmp_path: Path, source: Path) -> None:
    """A red verdict rejects every step that needs it."""
    gate = make_step("gate", given(source))
    pack = make_step("pack", output_of(gate, "verdict"))
    after = make_step("after", output_of(pack))
    plan = make_plan(gate, pack, after)
    state = make_state(tmp_path, plan)
    make(state, gate, passed=False)
    expected = [Status.UP_TO_DATE, Status.REJECTED, Status.REJECTED]
    assert statuses(state, plan) == expected
    assert statuses(again(state, plan), plan) == expected
    assert statuses(make_state(tmp_path, plan), plan) == [Status.RESTORABLE, *expected[1:]]


def test_an_absent_file_that_the_lock_knows_is_waited_for(tmp_path: Path) -> None:
    """A missing file in the lock makes its step and all later ones wait, with the file's name."""
    digest = "ab" * 32
    export = make_step("export", given(tmp_path / "later.bin", kind="model"))
    plan = make_plan(export, make_step("pack", output_of(export)))
    lock = Lock(lines=(content_line("model later.bin", digest, None),))
    state = make_state(tmp_path, plan, lock=lock)
    assert statuses(state, plan) == [Status.WAITING, Status.WAITING]
    assert reasons(state.decide(plan.steps[1])) == ["later.bin"]


def test_an_absent_file_has_its_readable_name(tmp_path: Path) -> None:
    """A reason has the name for messages, while the line of the lock is found by the label."""
    source = Source(
        path=str(tmp_path / "shop"), label="train t.json", kind="dataset", readable="shop (t.json)"
    )
    plan = make_plan(make_step("prepare", Input(name="dataset", source=source)))
    lock = Lock(lines=(content_line("dataset train t.json", "ab" * 32, None),))
    decision = make_state(tmp_path, plan, lock=lock).decide(plan.steps[0])
    assert (decision.status, reasons(decision)) == (Status.WAITING, ["shop (t.json)"])


def test_an_absent_file_with_a_known_result_is_not_missed(tmp_path: Path, source: Path) -> None:
    """A missing file is not needed if the result is known."""
    export = make_step("export", given(source, kind="model"))
    plan = make_plan(export)
    state = make_state(tmp_path, plan)
    make_all(state, plan)
    line = content_line("model model.bin", state.input_digest(export.inputs[0]) or "", None)
    source.unlink()
    there = make_state(tmp_path, plan, lock=Lock(lines=(line,)))
    assert statuses(there, plan) == [Status.RESTORABLE]


def test_an_absent_file_that_is_not_recorded_is_an_error(tmp_path: Path) -> None:
    """A missing file without a record is an error with its name."""
    export = make_step("export", given(tmp_path / "gone.bin"))
    state = make_state(tmp_path, make_plan(export))
    with pytest.raises(InputError, match=r"gone\.bin"):
        state.decide(export)
    assert state.known_key(export) is None


def test_a_file_that_is_not_what_the_recipe_pins_is_an_error(tmp_path: Path, source: Path) -> None:
    """A file that differs from its pinned digest is an error with its digest."""
    export = make_step("export", given(source, sha256="00" * 32))
    state = make_state(tmp_path, make_plan(export))
    with pytest.raises(InputError, match="its sha256 is"):
        state.decide(export)


def test_a_missing_program_of_the_host_is_waited_for(
    tmp_path: Path, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A missing program makes a step wait; a known result is used."""
    monkeypatch.setattr("buildsys.execution.tools.host_tools.find_program", lambda name: None)
    load = make_step("load", given(source), requires="qemu-system-arm")
    plan = make_plan(load)
    state = make_state(tmp_path, plan)
    decision = state.decide(load)
    assert decision.status == Status.WAITING
    assert "qemu-system-arm" in reasons(decision)[0]
    make(state, load)
    assert statuses(make_state(tmp_path, plan), plan) == [Status.RESTORABLE]


def test_a_finished_step_costs_nothing_of_what_does_not_read_it(tmp_path: Path) -> None:
    """Finishing a step costs the same with ten or a thousand unrelated steps."""

    def lines_to_finish(others: int) -> int:
        export = make_step("export")
        beside = [make_step(f"other-{n}", params=str(n)) for n in range(others)]
        plan = make_plan(export, make_step("pack", output_of(export)), *beside)
        state = make_state(tmp_path / str(others), plan)
        assert statuses(state, plan) == [Status.STALE, Status.PENDING, *[Status.STALE] * others]
        action_key = state.key(export)
        assert action_key is not None
        result = StepResult(outputs=(("made", "ab" * 32),), seconds=1.0)
        lines = count_lines(lambda: state.finish(export, action_key, result))
        assert statuses(state, plan)[:2] == [Status.UP_TO_DATE, Status.STALE]
        return lines

    assert lines_to_finish(1000) == lines_to_finish(10)


def count_lines(action: Callable[[], None]) -> int:
    """Number of Python lines that an action executes, without those of a garbage collection."""
    count = 0

    def trace(frame: FrameType, event: str, argument: object) -> Any:
        nonlocal count
        count += event == "line"
        return trace

    before = sys.gettrace()
    gc.disable()
    sys.settrace(trace)
    try:
        action()
    finally:
        sys.settrace(before)
        gc.enable()
    return count


def test_steps_of_one_action_are_done_when_one_of_them_is(tmp_path: Path, source: Path) -> None:
    """Steps with the same action are done when one of them is."""
    copy = tmp_path / "copy.bin"
    copy.write_bytes(source.read_bytes())
    one = make_step("export", given(source))
    two = make_step("export", given(copy), id="export-copy")
    pack = make_step("pack", output_of(two))
    plan = make_plan(one, two, pack)
    state = make_state(tmp_path, plan)
    assert statuses(state, plan) == [Status.STALE, Status.STALE, Status.PENDING]
    make(state, one)
    assert statuses(state, plan) == [Status.UP_TO_DATE, Status.UP_TO_DATE, Status.STALE]


def test_what_waits_for_a_machine_runs_once_one_is_there(tmp_path: Path, source: Path) -> None:
    """A step that waits for a machine runs once one is available, and so do later steps."""
    machines: set[str] = set()

    def missing(step: Step) -> tuple[str, ...]:
        return (step.requires,) if step.requires and not machines else ()

    load = make_step("load", given(source), requires="tensorrt 10.3 8.7")
    plan = make_plan(load, make_step("pack", output_of(load)))
    state = make_state(tmp_path, plan)
    state.missing = missing
    assert statuses(state, plan) == [Status.WAITING, Status.WAITING]
    machines.add("board")
    state.drop_undone()
    assert statuses(state, plan) == [Status.STALE, Status.PENDING]


def test_a_step_that_two_builds_share_is_decided_once(tmp_path: Path, source: Path) -> None:
    """A shared step is decided once; each build's reasons refer to its own last result."""
    export = make_step("export", given(source))
    one = make_plan(export, make_step("pack-one", output_of(export)))
    two = make_plan(export, make_step("pack-two", output_of(export)), build="tags@other")
    state = make_state(tmp_path, one, two)
    make(state, export)
    assert state.decide(one.steps[1]).status == Status.STALE
    assert state.decide(two.steps[1]).status == Status.STALE
    assert state.database.role("tags@host/export") == state.database.role("tags@other/export")


# trainings


@pytest.fixture
def training(source: Path) -> Step:
    """A step that trains."""
    made = (
        Output(name="checkpoint", tree=False, suffix=".pt"),
        Output(name="training", tree=True),
    )
    return make_step("train_ultralytics", given(source), stage="train", trains=True, outputs=made)


def record_training(state: State, step: Step, curves: str = "") -> Lock:
    """The lock with the line of a training."""
    action_key, result = state.key(step), state.result(step.id)
    assert action_key is not None
    assert result is not None
    training = Training(
        action_key=action_key.key,
        checkpoint=result.outputs[0][1],
        training=curves,
        code=step.code,
        tool=step.tool,
        lock=step.tool_identity,
        device="cpu",
        torch="2.0",
        seconds=61.0,
    )
    key = training_key("tags", slice_digest(step, action_key))
    return Lock(lines=(Line(key=key, text="", value=training),))


def test_a_recorded_training_is_kept_when_only_tools_or_code_changed(
    tmp_path: Path, training: Step
) -> None:
    """A recorded training is kept if only tools or code changed, and the step says so."""
    pack = make_step("pack", output_of(training))
    state = make_state(tmp_path, make_plan(training, pack))
    make(state, training)
    lock = record_training(state, training)
    kept_key = state.decide(training).key
    newer = changed(training, code="code-2", tool="tool 2.0", tool_identity="lock-2")
    plan = make_plan(newer, pack)
    state = again(state, plan, lock=lock)
    assert statuses(state, plan) == [Status.UP_TO_DATE, Status.STALE]
    assert state.decide(newer).key == kept_key
    assert newer.id in state.kept
    assert state.recorded(newer) is not None


def test_curves_of_a_recorded_training_are_there_where_the_store_has_them(
    tmp_path: Path, training: Step
) -> None:
    """Missing curves of a recorded training do not repeat it."""
    pack = make_step("pack", output_of(training))
    state = make_state(tmp_path, make_plan(training, pack))
    make(state, training)
    (tmp_path / "curves").mkdir()
    (tmp_path / "curves" / "history.csv").write_text("epoch\n")
    known = state.store.put_tree(tmp_path / "curves")
    newer = changed(training, code="code-2")
    for digest, names in (("0" * 64, ["checkpoint"]), (known, ["checkpoint", "training"])):
        lock = record_training(state, training, digest)
        following = again(state, make_plan(newer, pack), lock=lock)
        assert following.decide(newer).status == Status.UP_TO_DATE
        result = following.result(newer.id)
        assert result is not None
        assert [name for name, _ in result.outputs] == names
        following.require_bytes(newer.id)
        assert following.decide(newer).status == Status.UP_TO_DATE


def test_a_recorded_training_is_made_again_on_request(tmp_path: Path, training: Step) -> None:
    """`buildsys update` repeats a recorded training only if tools or code are newer."""
    plan = make_plan(training)
    state = make_state(tmp_path, plan)
    make(state, training)
    lock = record_training(state, training)
    newer = make_plan(changed(training, code="code-2"))
    for later, status in ((newer, Status.STALE), (plan, Status.UP_TO_DATE)):
        following = again(state, later, lock=lock)
        following.retrain = True
        assert statuses(following, later) == [status]


def test_a_recorded_training_of_other_data_or_settings_does_not_count(
    tmp_path: Path, training: Step, source: Path
) -> None:
    """A recorded training of other data or settings is not used."""
    state = make_state(tmp_path, make_plan(training))
    make(state, training)
    lock = record_training(state, training)
    longer = make_plan(changed(training, params=json.dumps({"size": 96})))
    assert statuses(again(state, longer, lock=lock), longer) == [Status.STALE]
    source.write_bytes(b"other data")
    plan = make_plan(training)
    assert statuses(again(state, plan, lock=lock), plan) == [Status.STALE]


def test_a_recorded_training_whose_checkpoint_is_gone_is_made_again(
    tmp_path: Path, training: Step
) -> None:
    """A recorded training whose checkpoint is missing is repeated."""
    plan = make_plan(training)
    state = make_state(tmp_path, plan)
    make(state, training)
    lock = record_training(state, training)
    shutil.rmtree(state.store.root)
    assert statuses(make_state(tmp_path, plan, lock=lock), plan) == [Status.STALE]


def test_a_recorded_training_counts_for_trainings_alone(tmp_path: Path, source: Path) -> None:
    """Lines of the lock only apply to trainings."""
    export = make_step("export_ultralytics", given(source))
    state = make_state(tmp_path, make_plan(export))
    make(state, export)
    lock = record_training(state, export)
    newer = make_plan(changed(export, code="code-2"))
    assert statuses(again(state, newer, lock=lock), newer) == [Status.STALE]
