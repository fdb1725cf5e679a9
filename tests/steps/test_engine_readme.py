"""The README of a package with an engine: which TensorRT loads it."""

import dataclasses

import pytest

from buildsys.steps.lib.packages import engine_readme
from tests.steps.test_hostile_names import ENGINE


@pytest.mark.parametrize(("jetson", "suffix"), [(False, ""), (True, "-igpu")])
def test_the_server_has_the_container_of_the_same_month(jetson: bool, suffix: str) -> None:
    """An engine loads only with all four numbers of its version, which containers of one month
    share.
    """
    text = engine_readme.describe(dataclasses.replace(ENGINE, jetson=jetson))
    assert "even if only the fourth number differs" in text
    assert f"`nvcr.io/nvidia/tensorrt:YY.MM-py3{suffix}` of its month" in text
    assert f"nvcr.io/nvidia/tritonserver:YY.MM-py3{suffix} tritonserver" in text


def test_the_library_can_come_from_pip() -> None:
    """Outside JetPack the README installs the version that loads the engine."""
    text = engine_readme.describe(dataclasses.replace(ENGINE, version="11.4.0.12"))
    assert "\n    .venv/bin/python -m pip install tensorrt==11.4.0.12\n" in text


def test_the_readme_tells_how_to_time_other_batches() -> None:
    """An engine of a dynamic batch is timed once for each batch of interest."""
    network = dataclasses.replace(ENGINE.network, batch=(1, 4, 8))
    text = engine_readme.describe(dataclasses.replace(ENGINE, network=network))
    assert "It runs a batch of 4; `--batch N` runs another one from 1 to 8." in text
    fixed = dataclasses.replace(ENGINE.network, batch=(4, 4, 4))
    assert "--batch" not in engine_readme.describe(dataclasses.replace(ENGINE, network=fixed))


def test_the_readme_describes_a_printed_line() -> None:
    """What run.py and client.py print is described, and what Triton does with labels.txt."""
    text = engine_readme.describe(ENGINE)
    assert text.count("one line per detection, best first: the image, the class, its score") == 2
    assert "uses `labels.txt` in it for classification" in text
