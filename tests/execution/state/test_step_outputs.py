"""Files written by steps are validated: another form fails the step, without a traceback."""

import re

import pytest

from buildsys.errors import StepFailed
from buildsys.execution.state.step_outputs import (
    read_entries,
    read_figure,
    read_object,
    read_verdict,
)


def test_a_verdict_is_read_among_whatever_else_its_step_found() -> None:
    """A verdict is read among the step's own figures, which may be NaN."""
    text = b"""{"passed": false, "failures": ["too large"], "figures": {"box": NaN}, "side": 96,
        "arena": {"need_bytes": 2048, "has_bytes": 1024, "margin_bytes": -1024, "by": "Vela"}}"""
    found = read_verdict(text, "fit")
    assert (found.passed, found.failures, found.side) == (False, ("too large",), 96)
    assert found.arena is not None
    assert found.arena.need_bytes == 2048


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (b"", "Expecting value"),
        (b"[" * 100_000, "nested too deep"),
        (b"[]", "it is not an object"),
        (b"{}", "`failures` is missing"),
        (b'{"passed": "yes", "failures": []}', "`passed`: it is neither true nor false"),
        (b'{"passed": true, "failures": "no"}', "`failures`: it is not a list"),
        (b'{"passed": false, "failures": [3]}', "`failures.0`: it is not a text"),
        (b'{"passed": false, "failures": [], "arena": {}}', "`arena`: `by` is missing"),
    ],
    ids=str,
)
def test_a_verdict_of_another_form_is_refused(text: bytes, why: str) -> None:
    """A verdict of another form is rejected, with the step and the reason."""
    wanted = f"gate wrote a verdict that cannot be used: {why}"
    with pytest.raises(StepFailed, match=re.escape(wanted)):
        read_verdict(text, "gate")


def test_figures_are_numbers_and_rows_are_objects() -> None:
    """Figures must be numbers and rows objects; otherwise the error names the step."""
    assert read_figure(b'{"sram_bytes": 3}', "sram_bytes", "compile", "summary") == 3
    with pytest.raises(StepFailed, match=r"compile wrote a summary .*`sram_bytes` is missing"):
        read_figure(b"{}", "sram_bytes", "compile", "summary")
    with pytest.raises(StepFailed, match="it is not a finite number"):
        read_figure(b'{"sram_bytes": "3"}', "sram_bytes", "compile", "summary")
    assert read_entries(b'{"mean_ms": 1}', "time", "latency") == ({"mean_ms": 1},)
    assert read_entries(b'{"entries": [{"mean_ms": 1}]}', "time", "latency") == ({"mean_ms": 1},)
    with pytest.raises(StepFailed, match="it is not an object"):
        read_entries(b'{"entries": [1]}', "time", "latency")
    with pytest.raises(StepFailed, match="it is not an object"):
        read_object(b"null", "export", "evidence")
