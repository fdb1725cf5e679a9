"""Parity ladder, decoder emulation and signal check, in an environment with numpy.

Real networks climb the ladder in test_pipeline; a stock export is examined in test_contracts.
"""

import json
import subprocess
from pathlib import Path

import pytest

from buildsys.execution.tools import environments
from tests.conftest import REPOSITORY
from tests.tools.places import WARNINGS_ARE_ERRORS, tool_environment
from tests.tools.single_steps import run_step

pytestmark = pytest.mark.tools

_GOLDEN = Path(__file__).parent / "golden"
_CASES = REPOSITORY / "tests" / "tools" / "parity_cases.py"
_CHECKS = [
    line.removeprefix("def ").split("(")[0]
    for line in _CASES.read_text().splitlines()
    if line.startswith("def check_")
]
_FRAME = {"height": 64, "width": 64, "color": "rgb", "resize": "letterbox"}


def _python(env: str) -> Path:
    return environments.ensure(env, print)[1]


@pytest.fixture(scope="module")
def faults() -> dict[str, str]:
    """What went wrong, by check; all of them run in one process of the evaluation environment."""
    run = subprocess.run(
        [str(_python("evaluate")), *WARNINGS_ARE_ERRORS, "-m", "tests.tools.parity_cases"],
        cwd=REPOSITORY,
        env=tool_environment(_python("evaluate")),
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    found: dict[str, str] = json.loads(run.stdout)
    return found


@pytest.mark.parametrize("check", _CHECKS)
def test_with_numpy(check: str, faults: dict[str, str]) -> None:
    """Each check is documented in parity_cases.py."""
    assert not faults[check], faults[check]


@pytest.fixture(scope="module")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Recordings of a network's files, one of which differs. Read-only."""
    folder = tmp_path_factory.mktemp("recordings")
    subprocess.run(
        [str(_python("evaluate")), "-m", "tests.tools.parity_cases", str(folder)],
        cwd=REPOSITORY,
        env=tool_environment(_python("evaluate")),
        check=True,
    )
    return folder


def test_the_verdict_of_a_ladder_that_breaks(recordings: Path, tmp_path: Path) -> None:
    """The step's complete file equals the golden file."""
    forms = ("checkpoint", "onnx", "float-tflite", "tflite", "tflm")
    verdict = tmp_path / "verdict.json"
    run_step(
        tmp_path,
        "evaluate",
        "compare_recordings",
        {form: recordings / f"{form}.npz" for form in forms},
        {"verdict": verdict},
        {
            "head": "raw",
            "classes": 1,
            "keypoints": 17,
            "keypoint_dims": 3,
            "preprocessing": _FRAME,
            "scheme": "int8",
            "trained": True,
            "decoder": "sscma-pose",
        },
    )
    assert verdict.read_text() == (_GOLDEN / "ladder-boxes-lost.json").read_text()


def test_recordings_of_other_images_are_refused(recordings: Path, tmp_path: Path) -> None:
    """Recordings of other images and an unknown decoder are refused."""
    params = {
        "head": "raw",
        "classes": 1,
        "keypoints": 17,
        "keypoint_dims": 3,
        "preprocessing": _FRAME,
        "scheme": "int8",
        "trained": True,
        "decoder": "sscma-yolov9",
    }
    told = run_step(
        tmp_path,
        "evaluate",
        "compare_recordings",
        {"onnx": recordings / "onnx.npz"},
        {"verdict": tmp_path / "v.json"},
        params,
        code=3,
    )
    assert told == (
        "there is no firmware decoder `sscma-yolov9`; there are himax-od, himax-pose,"
        " sscma-yolov8, sscma-world, sscma-pose."
    )
