"""Predictions: what needs no tools."""

import json
import os
import re
from dataclasses import replace
from pathlib import Path

import pytest

from buildsys.cli import main
from buildsys.errors import StepFailed
from buildsys.execution.places import Workspace
from buildsys.execution.running.process import Command, OnProgress
from buildsys.execution.session.loading import make_plans
from buildsys.execution.session.session import Session
from buildsys.graph import build_plans
from buildsys.operations.predict import (
    Detection,
    Predicted,
    describe,
    find_images,
    find_runnable,
    name_drawings,
    plan_prediction,
)
from buildsys.operations.predict import predict as run_prediction
from tests.conftest import Build, no_environment


def test_a_compiled_build_predicts_from_the_file_before_the_compiler(workspace: Path) -> None:
    """A compiled build predicts with the file before the compiler, any other with the published
    file.
    """
    recipe = workspace / "recipes" / "tags.yaml"
    recipe.write_text(recipe.read_text().replace("targets:", "targets:\n  - nvidia-rtx-aot", 1))
    plans = {plan.target: plan for plan in build_plans(make_plans(Workspace(workspace)).plans)}
    xiao = plans["xiao-esp32s3"]
    assert find_runnable(xiao) == xiao.shipped
    assert find_runnable(plans["grove-vision-ai-v2"]).name == "tflite"
    assert find_runnable(plans["nvidia-rtx-aot"]).name == "quantized-onnx"


def predict(workspace: Path, *arguments: str) -> int:
    """Run `buildsys predict` and return its exit code."""
    return main(["-C", str(workspace), "predict", *arguments])


@pytest.mark.parametrize("text", ["abc", "1.5", "-0.1", "nan"])
def test_a_confidence_is_a_number_from_0_to_1(
    text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Another value of --confidence is refused in a sentence that states the bounds."""
    with pytest.raises(SystemExit) as ended:
        predict(tmp_path, "net@board", "image.jpg", f"--confidence={text}")
    assert ended.value.code == 2
    told = f"argument --confidence: {text} is not a number from 0 to 1\n"
    assert capsys.readouterr().err.endswith(told)


def test_only_a_build_that_is_up_to_date_predicts(
    workspace: Path, build: Build, capsys: pytest.CaptureFixture[str]
) -> None:
    """Only a build that is up to date predicts."""
    picture = str(workspace / "tags" / "images" / "val" / "0.jpg")
    message = "is not up to date; run `doit build:tags@xiao-esp32s3` first"
    assert predict(workspace, "tags@xiao-esp32s3", picture) == 1
    assert message in capsys.readouterr().err
    build()
    recipe = workspace / "recipes" / "tags.yaml"
    recipe.write_text(recipe.read_text().replace("epochs: 2", "epochs: 3"))
    capsys.readouterr()
    assert predict(workspace, "tags@xiao-esp32s3", picture) == 1
    assert message in capsys.readouterr().err


def test_a_rejected_build_ships_nothing_to_predict_from(
    workspace: Path, build: Build, capsys: pytest.CaptureFixture[str]
) -> None:
    """A rejected build is refused with the exit code of a red gate."""
    recipe = workspace / "recipes" / "tags.yaml"
    recipe.write_text(recipe.read_text().replace("min: 0.1", "min: 0.9"))
    build()
    capsys.readouterr()
    picture = str(workspace / "tags" / "images" / "val" / "0.jpg")
    assert predict(workspace, "tags@xiao-esp32s3", picture) == 11
    assert "rejected by gate: there is no shipped file" in capsys.readouterr().err


def test_wrong_arguments_are_reported_before_any_work(
    workspace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Missing images, an unknown build and several builds are reported before any work."""
    (workspace / "empty").mkdir()
    places = [str(workspace / name) for name in ("nix.jpg", "empty", "tags/data.yaml")]
    assert predict(workspace, "tags@xiao-esp32s3", *places) == 2
    errors = capsys.readouterr().err
    assert errors.count("error:") == 3
    assert f"{places[0]}: error: the file does not exist" in errors
    assert f"{places[1]}: error: this folder contains no images" in errors
    picture = str(workspace / "tags" / "images" / "val" / "0.jpg")
    assert predict(workspace, "tags@xiao", picture) == 2
    assert "did you mean `tags@xiao-esp32s3`" in capsys.readouterr().err
    for several in ("tags@*", "tags"):
        assert predict(workspace, several, picture) == 2
        assert f"{several}: error: names 2 builds" in capsys.readouterr().err
    (workspace / "recipes" / "zz.yaml").write_text("name: zz\nsurce: 1\n")
    assert predict(workspace, "zz", picture) == 2
    assert "its recipe has a mistake, see above" in capsys.readouterr().err
    assert predict(workspace, "tags@xiao", picture) == 2
    assert "surce" not in capsys.readouterr().err


def test_a_checkpoint_is_not_offered(workspace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A checkpoint is refused, and the message names what can predict."""
    recipe = workspace / "recipes" / "tags.yaml"
    text = recipe.read_text().replace("  - grove-vision-ai-v2\n  - xiao-esp32s3", "  - checkpoint")
    text = text.replace("scheme: int8", "scheme: float32").replace(
        "  granularity: per-tensor\n", ""
    )
    recipe.write_text(text.replace("  calibration: {split: train, count: 3, seed: 0}\n", ""))
    picture = str(workspace / "tags" / "images" / "val" / "0.jpg")
    assert predict(workspace, "tags@checkpoint", picture) == 2
    assert "which predict does not support" in capsys.readouterr().err


def test_drawings_never_overwrite_one_another(tmp_path: Path) -> None:
    """Drawings get different names; a folder stands for its images without hidden files."""
    for name in ("a.jpg", "b/a.png", "b/a.jpg", "b/.a.jpg", ".cache/a.jpg", "notes.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    paths = find_images([str(tmp_path), os.path.join(str(tmp_path), "a.jpg")])
    assert [path.relative_to(tmp_path).as_posix() for path in paths] == [
        "a.jpg",
        "b/a.jpg",
        "b/a.png",
    ]
    assert name_drawings(paths) == ("a.jpg", "b-a.jpg", "b-a-2.jpg")


def test_a_line_shows_the_best_and_counts_the_rest() -> None:
    """An image's line lists the best objects and counts the rest."""
    item = Detection(class_="cell", score=0.876, box=(10.2, 5.0, 30.7, 9.6))
    seen = Predicted(picture="a.jpg", drawing="a.jpg", width=64, height=64, objects=(item,) * 8)
    line = "a.jpg: cell 0.88 at 10,5 21x5; cell 0.88 at 10,5 21x5; and 6 more"
    assert describe(seen, most=2) == line
    assert describe(replace(seen, objects=())) == "a.jpg: nothing"


MADE = {
    "picture": "0.jpg",
    "drawing": "0.jpg",
    "width": 64,
    "height": 64,
    "objects": [{"class": "tag", "score": 0.5, "keypoints": [[1.5, 2.0, 1.0]]}],
}
"""A step's result for the image 0.jpg."""


@pytest.mark.usefixtures("built")
def test_predictions_keep_what_the_step_found(workspace: Path) -> None:
    """Predictions name the build, and the image as on the command line."""
    target = made_predictions(workspace, MADE)
    found = json.loads((target / "predictions.json").read_text())
    picture = str(workspace / "tags" / "images" / "val" / "0.jpg")
    assert found["build"] == "tags@xiao-esp32s3"
    assert found["pictures"] == [MADE | {"picture": picture}]
    assert (target / "0.jpg").read_text() == "drawn"


@pytest.mark.usefixtures("built")
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"drawing": "../../notes.txt"}, "`../../notes.txt` leads out of its folder"),
        ({"drawing": "other.jpg"}, "`other.jpg` is not the drawing of `0.jpg`"),
        ({"picture": "1.jpg"}, "`0.jpg` is not the drawing of `1.jpg`"),
        ({"objects": [{"score": 0.5}]}, "`pictures.0.objects.0`: `class` is missing"),
    ],
)
def test_a_step_names_no_file_but_the_drawings_it_was_asked_for(
    workspace: Path, change: dict[str, object], message: str
) -> None:
    """Paths in a step's result that are not the requested drawings are refused, and nothing is
    kept.
    """
    (workspace / "notes.txt").write_text("mine")
    with pytest.raises(StepFailed, match=re.escape(message)):
        made_predictions(workspace, MADE | change)
    assert (workspace / "notes.txt").read_text() == "mine"
    assert not (workspace / "deep" / "seen").exists()


@pytest.mark.usefixtures("built")
def test_a_second_call_replaces_the_drawings_of_the_first(
    workspace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Drawings of an earlier call are removed where that is wanted, other files stay, and images of
    two calls are not compared.
    """
    target = workspace / "deep" / "seen"
    for image in ("0.jpg", "1.jpg"):
        made_predictions(workspace, MADE | {"picture": image, "drawing": image}, image)
        (target / "mine.jpg").write_text("mine")
    assert {path.name for path in target.iterdir()} == {
        "0.jpg",
        "1.jpg",
        "mine.jpg",
        "predictions.json",
    }
    assert capsys.readouterr().err.count(": no recorded result") == 2
    made_predictions(workspace, MADE, replaces=True)
    assert {path.name for path in target.iterdir()} == {"0.jpg", "mine.jpg", "predictions.json"}


@pytest.mark.parametrize("text", ["{", '{"pictures": [{"drawing": "../notes.txt"}]}', "[]"])
@pytest.mark.usefixtures("built")
def test_a_predictions_json_of_others_removes_nothing(workspace: Path, text: str) -> None:
    """A predictions.json of another form names no drawings."""
    target = workspace / "deep" / "seen"
    target.mkdir(parents=True)
    (target / "predictions.json").write_text(text)
    (target.parent / "notes.txt").write_text("mine")
    made_predictions(workspace, MADE, replaces=True)
    assert (target.parent / "notes.txt").read_text() == "mine"


def made_predictions(
    workspace: Path, row: dict[str, object], asked: str = "0.jpg", *, replaces: bool = False
) -> Path:
    """The folder that `predict` writes if its step returns this row, the only image `asked` for."""

    def run(command: Command, on_progress: OnProgress) -> int:
        request = json.loads(Path(command.arguments[-1]).read_text())
        folder = Path(request["outputs"]["predictions"])
        folder.mkdir()
        for name in (str(row["drawing"]), "0.jpg", "notes.txt"):
            (folder / name).write_text("drawn")
        digest = {"sha256": "0" * 64}
        found = {"model": digest, "confidence": 0.25, "pictures": [row], "unreadable": []}
        (folder / "predictions.json").write_text(json.dumps(found))
        return 0

    paths = (workspace / "tags" / "images" / "val" / asked,)
    prediction = plan_prediction(Workspace(workspace), "tags@xiao-esp32s3", paths, 0.25)
    session = Session(workspace, run, no_environment, plans=prediction.plans)
    target = workspace / "deep" / "seen"
    try:
        run_prediction(session, prediction, target, replaces=replaces)
    finally:
        session.close()
    return target
