"""Figures of a package for the run's table, even if someone edited its folder."""

from pathlib import Path

import pytest

from buildsys.execution.packages.figures import Figures, read_figures, write_figures
from buildsys.execution.packages.variants import figures
from buildsys.execution.places import Workspace
from tests.sample_steps import make_plan, make_state, make_step

FIGURES = '{"tflite": {"metrics": {"box.mAP50-95": 0.5, "box.mAP50": 1}, "split": "val"}}'
GAP = '{"onnx": {"metrics": {"top1": 0.5, "top1.egg": null}, "split": "val"}}'
MEASURED = (("box.mAP50", 1.0), ("box.mAP50-95", 0.5))


@pytest.mark.parametrize(
    ("metrics", "vela", "expected"),
    [
        (FIGURES, '{"sram_bytes": 4096}', Figures(sram_bytes=4096, metrics=MEASURED, split="val")),
        (GAP, "", Figures(metrics=(("top1", 0.5),), split="val", without_objects=("egg",))),
        ('{"tflite": []}', '{"sram_bytes": "many"}', Figures()),
        ('{"tflite": {"metrics": {"box.mAP50": "good"}}}', "[]", Figures()),
        ('{"tflite": {"metrics": {"box.mAP50": NaN}}}', "", Figures()),
        ("[1]", '{"sram_bytes": null}', Figures()),
    ],
)
def test_a_file_of_another_shape_has_no_figures(
    metrics: str, vela: str, expected: Figures, tmp_path: Path
) -> None:
    """A file of another form leaves the table's cells empty, and the run continues."""
    plan = make_plan(make_step("prepare"))
    recipe, target = plan.build.split("@")
    folder = tmp_path / "build" / recipe / target
    folder.mkdir(parents=True)
    (folder / "metrics.json").write_text(metrics)
    (folder / "vela.json").write_text(vela)
    found = figures(Workspace(tmp_path), make_state(tmp_path, plan), plan)
    assert found == expected
    assert read_figures(write_figures(found)) == found


def test_damaged_figures_are_none() -> None:
    """A damaged text of figures leaves the table's cells empty."""
    assert read_figures("{") == read_figures('{"bytes": "many"}') == Figures()
