"""One labelled dataset in four formats gives the same prepared dataset."""

from pathlib import Path

import pytest

from buildsys.authoring.datasets.blocks import Dataset
from buildsys.authoring.datasets.coco_sets import find_place, read_sets
from buildsys.authoring.datasets.data_yaml import read_dataset
from buildsys.authoring.datasets.facts import DatasetFacts
from buildsys.authoring.datasets.folder_sets import read_folder
from buildsys.planning.datasets import given_splits
from buildsys.steps import prepare_dataset
from buildsys.steps.lib.datasets import prepared, readers
from buildsys.steps.lib.datasets.labels import Layout
from tests.brought_sets import FORMS, SPLITS, Box, bring


def draw(name: str, boxes: tuple[Box, ...]) -> bytes:
    """An image without content: labels are read without pixels."""
    return f"{name} {len(boxes)}".encode()


def prepare_text(root: Path, facts: DatasetFacts) -> dict[str, str]:
    """The prepared dataset: the text of label files, and the names of images."""
    params = prepare_dataset.Params(
        format=facts.format, splits=given_splits(facts), classes=facts.names, shape="box"
    )
    layout = Layout(classes=facts.names, keypoints=0, dims=0)
    reading = readers.read(root, params.format, params.splits, layout)
    assert [f for f in reading.findings if f.severity == "error"] == []
    found = {"data.yaml": prepared.describe(prepared.Description(classes=facts.names), SPLITS)}
    for split, (name, samples) in zip(params.splits, reading.splits, strict=True):
        stems = prepare_dataset.choose_stems(root, split, samples, params)
        for sample, stem in zip(samples, stems, strict=True):
            lines = (prepared.label_line(item, 0) for _, item in sample.objects)
            found[f"images/{name}/{stem}"] = (root / sample.image).read_text()
            found[f"labels/{name}/{stem}"] = "".join(lines)
    return found


def coco_facts(root: Path) -> DatasetFacts:
    """The facts of a Label Studio export."""
    splits = {
        name: {"annotations": f"{name}/result.json", "images": f"{name}/images"} for name in SPLITS
    }
    block = Dataset.model_validate({"format": "coco", "splits": splits, "match": "base-name"})
    return read_sets(find_place(block, root), "detect", {}).facts


@pytest.mark.parametrize("form", FORMS)
def test_every_form_is_the_same_prepared_dataset(form: str, tmp_path: Path) -> None:
    """Each format gives the same prepared dataset, and so the same training."""
    (tmp_path / "roboflow").mkdir()
    yaml = tmp_path / "roboflow" / bring("roboflow", tmp_path / "roboflow", draw)
    usual = read_dataset(yaml, "data.yaml")
    wanted = prepare_text(Path(usual.facts.root), usual.facts)
    assert len(wanted) == 1 + 2 * sum(map(len, SPLITS.values()))
    assert wanted["labels/train/ab12-b"] == "0 0.75 0.75 0.5 0.5\n"
    root = tmp_path / form
    root.mkdir(exist_ok=True)
    bring(form, root, draw)
    if form == "label-studio":
        assert prepare_text(root, coco_facts(root)) == wanted
    elif form != "roboflow":
        block = Dataset.model_validate({"format": form, "path": form})
        found = read_folder(root, form, block, {})
        assert found.missing_parts == ()
        assert prepare_text(root, found.facts) == wanted
