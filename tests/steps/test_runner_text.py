"""Reading and judging the runner firmware's output, recorded from real runs."""

from pathlib import Path

import pytest

from buildsys.steps import fit_memory
from buildsys.steps.lib.firmware import inference_runner
from buildsys.steps.lib.firmware.emulator import Session
from buildsys.steps.lib.firmware.inference_runner import RunnerReport, Tensor
from buildsys.steps.lib.runtime.progress import StepError
from buildsys.steps.load_firmware import Params, check_end, judge, why_not

UNLIMITED = Params(accelerator="ethos-u55-64")
GOLDEN = Path(__file__).parent / "golden"


def told(name: str) -> RunnerReport:
    """The report of one recorded session, with CR LF line ends."""
    text = (GOLDEN / f"runner-{name}.txt").read_text()
    return inference_runner.read_output(text.replace("\n", "\r\n").split("\n"))


def test_a_loaded_model_is_read_whole() -> None:
    """The output of a loaded model has seven outputs in order, one NPU operator and the arena."""
    found = told("loads")
    image = Tensor(
        dtype="int8", shape=(1, 192, 192, 3), bytes=110592, scale=0.003922, zero_point=-128
    )
    assert found.inputs == (image,)
    shapes = [tensor.shape[1:] for tensor in found.outputs]
    assert shapes == [(576, 64), (144, 64), (36, 64), (576, 1), (144, 1), (36, 1), (756, 12)]
    assert [tensor.zero_point for tensor in found.outputs] == [-9, -8, -69, 114, 112, 127, 3]
    assert found.operators == ("ethos-u",)
    assert found.arena_bytes == 300716
    assert found.memory_mode == "Sram_Only/Shared_Sram"
    assert not found.errors
    assert not found.fault


def test_nothing_of_interest_follows_the_last_line() -> None:
    """Output after the last expected line is ignored."""
    lines = (GOLDEN / "runner-loads.txt").read_text().splitlines()
    last = next(index for index, line in enumerate(lines) if inference_runner.is_last(line))
    assert inference_runner.read_output(lines[: last + 1]) == told("loads")


@pytest.mark.parametrize("name", ["unresolved", "schema", "fault"])
def test_a_firmware_that_gives_up_is_not_waited_for(name: str) -> None:
    """A firmware that halts with an error ends the wait."""
    lines = (GOLDEN / f"runner-{name}.txt").read_text().splitlines()
    assert any(inference_runner.is_last(line) for line in lines)


def test_a_loaded_model_within_4_kib_passes() -> None:
    """An arena within 4 KiB of Vela's figure (299,792) passes."""
    verdict = judge(told("loads"), 299_792, UNLIMITED)
    assert verdict["passed"]
    assert verdict["difference_bytes"] == 924


@pytest.mark.parametrize(("planned", "word"), [(296_000, "4716 more"), (310_000, "9284 less")])
def test_another_arena_than_planned_is_red(planned: int, word: str) -> None:
    """An arena that differs from the planned one is red."""
    verdict = judge(told("loads"), planned, UNLIMITED)
    assert not verdict["passed"]
    (failure,) = verdict["failures"]
    assert f"{word} than Vela's {planned}" in failure


@pytest.mark.parametrize(("arena_kib", "failures"), [(294, 0), (293, 1)])
def test_the_arena_of_the_firmware_is_a_limit(arena_kib: int, failures: int) -> None:
    """A model that needs more arena (300,716 bytes) than the firmware has is red, although `fit`
    estimates from Vela's plan that it fits.
    """
    planned = 293 * 1024 - fit_memory.ALLOCATOR_BYTES
    params = Params(accelerator="ethos-u55-64", firmware="f", arena_kib=arena_kib)
    verdict = judge(told("loads"), planned, params)
    assert len(verdict["failures"]) == failures
    assert verdict["passed"] is (not failures)
    assert verdict["has_bytes"] == arena_kib * 1024
    for failure in verdict["failures"]:
        assert failure == (
            "it needs 294 KiB of tensor arena (by TFLite Micro on an emulated Cortex-M55), f has"
            " 293 KiB"
        )


def test_an_operator_that_is_not_resolved_is_reported_in_the_firmwares_words() -> None:
    """An unresolved operator is reported with the firmware's message."""
    verdict = judge(told("unresolved"), 299_792, UNLIMITED)
    assert verdict["failures"] == [
        'the firmware refuses the model: "Failed to get registration from op code CUSTOM; tensor'
        ' allocation failed!; Failed to initialise model"'
    ]
    assert verdict["arena_bytes"] is None
    assert verdict["difference_bytes"] is None


def test_two_errors_on_one_line_are_two() -> None:
    """Two errors on one line are reported as two."""
    assert told("schema").errors == (
        "Model's schema version 0 is not equal to supported version 3.",
        "Failed to initialise model",
    )


def test_a_crash_is_reported_as_one() -> None:
    """A crash is reported as a crash, not as missing output."""
    (failure,) = judge(told("fault"), 299_792, UNLIMITED)["failures"]
    assert failure.startswith("the firmware crashed (HardFault_Handler) while it loaded the model;")


def test_firmware_that_does_not_finish_gives_no_verdict() -> None:
    """A timeout fails the step with the time and the last lines that the firmware printed."""
    session = Session(lines=("CPU ID: 0x411fd220", "", "Allocating tensors"), end="late", code=None)
    message = (
        r"had not loaded person_vela.tflite after 300 s.*\n    CPU ID: .*\n    Allocating tensors$"
    )
    with pytest.raises(StepError, match=message):
        check_end(Path("person_vela.tflite"), session, inference_runner.read_output([]))


def test_where_no_load_test_exists_the_reason_is_a_sentence() -> None:
    """If there is no load test, such as for U85, the reason is one sentence."""
    assert why_not("ethos-u55-64") == why_not("ethos-u65-512") == ""
    assert "Corstone-320" in why_not("ethos-u85-256")
    assert "ships no runner" in why_not("ethos-u100-1")
