"""The table of changes for the second pipeline: a COCO dataset, one training, two converters."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import Build, Sample, StandIn, build_sample, make_workspace
from tests.execution.test_changes import edit

RECIPE = """\
name: cells
source: {family: yolox, task: detect, architecture: yolox-nano, weights: random}
dataset:
  format: coco
  splits:
    train: {annotations: cells/train.json, images: cells/images}
    val: {annotations: cells/val.json, images: cells/images}
input: {size: 64}
train: {epochs: 2, batch: 4, seed: 0}
export: {opset: 13, head: split}
quantization: {scheme: float16}
evaluate: {gates: {box.mAP50-95: {min: 0.1}}}
matrix: {convert.tool: [onnx-tf, onnx2tf]}
targets: [linux-arm64-tflite]
"""
RECIPE_FILE, SHEET = "recipes/cells.yaml", "cells/train.json"
CONVERTERS = ("convert_onnx_tf", "convert_onnx2tf")
SHIPPED = (
    "convert_tflite",
    "record_tflite",
    "examine_tflite",
    "check_operators",
    "evaluate_tflite",
    "compare_recordings",
    "gate",
    "draw_models",
    "package_linux",
)
PER_CONVERTER = ("record_tflite", *SHIPPED)
"""The converter's own float32 file is recorded, too."""
AFTER_EXPORT = (
    "record_yolox",
    "export_yolox",
    "evaluate_onnx",
    "record_onnx",
    *CONVERTERS,
    *PER_CONVERTER,
    *PER_CONVERTER,
)
"""The checkpoint's accuracy is that of its own head, whatever is exported."""
AFTER_TRAINING = ("evaluate_yolox", *AFTER_EXPORT)
AFTER_DATA = ("write_coco", "train_yolox", "prepare_pictures", "prepare_pictures", *AFTER_TRAINING)
CHANGES: dict[str, tuple[Callable[[Path], None], tuple[str, ...]]] = {
    "nothing": (lambda root: None, ()),
    "one annotation": (
        edit(SHEET, "[4, 8, 16, 8]", "[5, 8, 16, 8]"),
        ("prepare_dataset", *AFTER_DATA),
    ),
    "one byte of one picture": (
        edit("cells/images/train0.jpg", "train 0", "train O"),
        ("prepare_dataset", *AFTER_DATA),
    ),
    "the head": (edit(RECIPE_FILE, "head: split", "head: decoded"), AFTER_EXPORT),
    "the learning rate": (
        edit(RECIPE_FILE, "seed: 0}", "seed: 0, learning_rate: 0.001}"),
        ("train_yolox", *AFTER_TRAINING),
    ),
    "one converter less": (edit(RECIPE_FILE, "[onnx-tf, onnx2tf]", "[onnx2tf]"), ()),
    "the scheme": (
        edit(RECIPE_FILE, "float16", "dynamic-range"),
        (*SHIPPED, *SHIPPED),
    ),
    "a gate's threshold": (edit(RECIPE_FILE, "min: 0.1", "min: 0.2"), ("gate", "gate")),
    "another board": (
        edit(RECIPE_FILE, "[linux-arm64-tflite]", "[linux-arm64-tflite, raspberry-pi-5]"),
        ("package_linux", "package_linux"),
    ),
}


def make_cells(root: Path) -> Path:
    """Write six training and three validation images with one object each."""
    make_workspace(root)
    (root / "recipes" / "tags.yaml").unlink()
    (root / RECIPE_FILE).write_text(RECIPE)
    (root / "cells" / "images").mkdir(parents=True)
    for split, count in (("train", 6), ("val", 3)):
        names = [f"{split}{index}.jpg" for index in range(count)]
        for index, name in enumerate(names):
            (root / "cells" / "images" / name).write_text(f"{split} {index}")
        images = [
            {"id": i, "file_name": name, "width": 32, "height": 32} for i, name in enumerate(names)
        ]
        objects = [
            {"id": i, "image_id": i, "category_id": 9, "bbox": [4, 8, 16, 8]} for i in range(count)
        ]
        sheet = {
            "images": images,
            "annotations": objects,
            "categories": [{"id": 9, "name": "egg"}],
        }
        (root / "cells" / f"{split}.json").write_text(json.dumps(sheet))
    return root


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    """A workspace with the recipe `cells` and its data."""
    return make_cells(tmp_path / "workspace")


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Sample:
    """`cells`, built once."""
    return build_sample(tmp_path_factory.mktemp("cells"), make_cells, StandIn())


@pytest.mark.usefixtures("built")
@pytest.mark.parametrize("change", CHANGES)
def test_a_change_runs_exactly_what_depends_on_it(
    change: str, workspace: Path, build: Build, tools: StandIn
) -> None:
    """Two converters share one training; a changed annotation trains again."""
    assert sorted(tools.ran) == sorted(("prepare_dataset", *AFTER_DATA))
    assert build() == [], "what is known of files by their places is known again"
    apply, expected = CHANGES[change]
    apply(workspace)
    assert sorted(build()) == sorted(expected)
    assert build() == [], "a second run must do nothing"
