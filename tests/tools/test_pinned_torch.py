"""The replaced torch operators behave as torch's, except that they are equal on every CPU."""

import json
import math
import subprocess
from pathlib import Path
from typing import Any

import pytest

from buildsys.execution.tools import environments
from tests.conftest import REPOSITORY
from tests.tools.places import tool_environment

pytestmark = pytest.mark.tools
PROGRAM = Path(__file__).with_name("torch_operators.py")


def run(python: Path, how: str) -> dict[str, list[Any]]:
    """Run all cases in one process."""
    command = [str(python), "-W", "ignore", str(PROGRAM), str(REPOSITORY), how]
    done = subprocess.run(
        command, env=tool_environment(python), capture_output=True, text=True, check=True
    )
    return dict(json.loads(done.stdout))


def test_replaced_operators_give_what_torch_gives() -> None:
    """Types, shapes and errors equal torch's; values equal to float32 rounding."""
    _, python = environments.ensure("ultralytics", print)
    plain, pinned = run(python, "plain"), run(python, "pinned")
    assert len(plain) > 200
    for case, expected in plain.items():
        found = pinned[case]
        assert found[:2] == expected[:2], case
        for one, other in zip(found[2:], expected[2:], strict=True):
            assert all(
                math.isclose(a, b, rel_tol=3e-7, abs_tol=1e-7) or (math.isnan(a) and math.isnan(b))
                for a, b in zip(one, other, strict=True)
            ), case
    assert pinned["log10 of powers of ten"][2][::2] == [3.0, 15.0]
    assert not any(pinned["sqrt of integers as of real numbers"][2])
