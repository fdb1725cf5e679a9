"""`buildsys new` writes a correct recipe for every board and source."""

import json
import os
import re
import shutil
from itertools import product
from pathlib import Path

import pytest

from buildsys import cli
from buildsys.authoring.recipes.families import trained_names
from buildsys.authoring.scaffold.starters import LOADER_CONFIG
from buildsys.authoring.syntax.document import read_document
from buildsys.digest import digest_file
from buildsys.errors import Diagnostic
from buildsys.execution.places import Workspace
from buildsys.execution.session.loading import read_builds
from buildsys.execution.state.plans import Plans
from buildsys.graph import BuildPlan
from buildsys.registry import shipped_targets
from tests.authoring.golden import HERE
from tests.authoring.sample_workspace import (
    Data,
    Head,
    plan_all,
    plan_good,
    write_checkpoint,
    write_data,
    write_sheet,
    write_target,
    write_yolox,
)
from tests.checkpoints import checkpoint_of
from tests.conftest import REPOSITORY
from tests.given_models import Edge, onnx_bytes, picture, tflite_bytes

_TARGETS = sorted(path.stem for path in shipped_targets().glob("*.yaml"))
_SOURCES = {
    "none": "",
    "pose": "weights/tags.pt",
    "detect": "weights/boxes.pt",
    "two poses": "weights/hands.pt",
    "64 classes": "weights/letters.pt",
    "yolox": "weights/cells.pt",
    "onnx": "weights/model.onnx",
    "tflite": "weights/model.tflite",
}
_TEXTS = {target: (shipped_targets() / f"{target}.yaml").read_text() for target in _TARGETS}
_ENGINES = {target for target, text in _TEXTS.items() if "build_engine" in text}
_UNFIT = {("tflite", target) for target in (*_ENGINES, "tensorflow-saved-model", "triton-onnx")}
"""Targets for which a TFLite file cannot be used."""
_KINDS = sorted(
    {
        re.sub(r'(?m)^(#|name:|label:).*\n|"[\d.]+"|gpu: [\w ]+|gib: \d+', "", _TEXTS[n]): n
        for n in _TARGETS
    }.values()
)
"""One target for each group that only differs in names and GPU values."""
_DATA = ["", "tags", "boxes", "hands", "letters", "points"]


@pytest.fixture(autouse=True)
def _sources(workspace: Path) -> None:
    """Write one file of each family, and images for the recipe `mine`."""
    weights = workspace / "weights"
    write_checkpoint(weights / "hands.pt", Head(kind="Pose", classes=("a", "b"), keypoints=21))
    names = tuple(f"letter-{number}" for number in range(64))
    write_checkpoint(weights / "letters.pt", Head(kind="Detect", classes=names))
    write_yolox(weights / "cells.pt", "yolox-tiny", ("bar", "egg"))
    words = {"task": "detect", "names": "{0: 'box', 1: 'lid'}", "imgsz": "[96, 160]"}
    rows = (Edge(name="output0", shape=(1, 6, 315)),)
    (weights / "stock.onnx").write_bytes(onnx_bytes((picture(),), rows, metadata=words))
    told = json.dumps({"task": "detect", "names": ["box", "lid"]})
    (weights / "stock.tflite").write_bytes(tflite_bytes(outputs=rows, metadata=told))
    (workspace / "data" / "mine").mkdir()
    (workspace / "data" / "mine" / "a.jpg").write_bytes(b"never opened while planning")
    write_sheet(workspace / "data" / "own" / "annotations.json", ("a.jpg", "b.jpg"))
    for name in ("a.jpg", "b.jpg"):
        (workspace / "data" / "own" / name).write_bytes(b"never opened while planning")
    (workspace / "doit.cfg").write_text(LOADER_CONFIG)


def _new(workspace: Path, name: str, *words: str) -> int:
    return cli.main(["-C", str(workspace), "new", name, *words])


def _words(source: str, data: str, target: str) -> list[str]:
    words = ["--from", source] if source else []
    words += ["--data", f"data/{data}/data.yaml"] if data else []
    return [*words, "--target", target]


def _surprising(plans: Plans) -> list[Diagnostic]:
    """Return what `check` finds, without warnings of boards whose firmware does not decode it."""
    own = "you need your own decoder"
    return [found for found in plans.diagnostics if found.is_error or own not in found.message]


@pytest.mark.slow(disk=False)  # hundreds of recipes
@pytest.mark.parametrize("target", _KINDS)
def test_every_combination_is_right_as_it_stands(
    workspace: Path, target: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """For every source, data and board, the written recipe passes `check`."""
    recipe = workspace / "recipes" / "mine.yaml"
    for (kind, source), data in product(_SOURCES.items(), _DATA):
        if data == "points" and kind not in ("none", "pose"):
            continue
        recipe.unlink(missing_ok=True)
        if (kind, target) in _UNFIT:
            assert _new(workspace, "mine", *_words(source, data, target)) == 2
            assert "cannot be built from a source of family" in capsys.readouterr().err
            continue
        assert _new(workspace, "mine", *_words(source, data, target)) == 0, (kind, data)
        plans = plan_all(workspace)
        told = "\n".join(diagnostic.render() for diagnostic in _surprising(plans))
        assert not told, f"{kind}, {data}:\n{told}\n{recipe.read_text()}"
        (plan,) = plans.plans
        assert isinstance(plan, BuildPlan)
        assert capsys.readouterr().out.endswith(f"\nnext:  doit build:mine@{target}\n")
        if source:
            digest = read_document(recipe, "mine").get("source", "weights", "sha256")
            assert digest == digest_file(workspace / source)


_SHOWN = {
    "nothing-known": _words("", "", "host"),
    "pose-checkpoint": _words("weights/tags.pt", "", "grove-vision-ai-v2"),
    "pose-checkpoint-and-its-data": _words("weights/tags.pt", "tags", "xiao-esp32s3"),
    "detect-checkpoint-and-other-data": _words("weights/boxes.pt", "tags", "host"),
    "data-alone": _words("", "hands", "grove-vision-ai-v2"),
    "second-family": [
        "--family",
        "yolox",
        "--data",
        "data/own/annotations.json",
        "--target",
        "linux-arm64-tflite",
    ],
    "second-family-on-a-microcontroller": [
        *_words("weights/cells.pt", "boxes", "grove-vision-ai-v2"),
        "--family",
        "yolox",
    ],
    "several-boards": [
        *_words("weights/tags.pt", "hands", "grove-vision-ai-v2"),
        *["--target", "xiao-esp32s3", "--target", "linux-arm64-tflite", "--target", "host"],
    ],
    "boards-without-a-common-scheme": [
        *_words("weights/boxes.pt", "tags", "checkpoint"),
        *["--target", "xiao-esp32s3"],
    ],
    "onnx": _words("weights/model.onnx", "boxes", "ethos-u55-128-high-end"),
    "tflite": _words("weights/model.tflite", "", "grove-vision-ai-v2"),
    "onnx-that-says-what-it-is": _words("weights/stock.onnx", "boxes", "raspberry-pi-5"),
    "tflite-that-says-what-it-is": _words("weights/stock.tflite", "tags", "host"),
}


@pytest.mark.parametrize("name", _SHOWN)
def test_what_it_writes_reads_well(workspace: Path, name: str) -> None:
    """The comments in a written recipe fit its source; review the golden files."""
    assert _new(workspace, "mine", *_SHOWN[name]) == 0
    text = (workspace / "recipes" / "mine.yaml").read_text()
    golden = HERE / "drafts" / f"{name}.yaml"
    if os.environ.get("UPDATE_GOLDEN"):
        golden.parent.mkdir(exist_ok=True)
        golden.write_text(text)
    assert text == golden.read_text()
    assert max(map(len, text.splitlines())) <= 125
    assert {path.stem for path in golden.parent.iterdir()} == set(_SHOWN)


def test_several_targets_are_one_recipe(
    workspace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Repeated targets count once; targets without a common scheme each get their own."""
    words = ["--data", "data/hands/data.yaml", "--target", "host", "--target", "xiao-esp32s3"]
    assert _new(workspace, "mine", *words, "--target", "host") == 0
    assert capsys.readouterr().out.endswith("\nnext:  doit 'build:mine@*'\n")
    words = ["--target", "checkpoint", "--target", "xiao-esp32s3", "--target", "nvidia-a100"]
    assert _new(workspace, "apart", *words) == 0
    schemes = {
        build.id: build.recipe.quantization.scheme for build in read_builds(Workspace(workspace))
    }
    assert schemes == {
        "mine@host": "int8",
        "mine@xiao-esp32s3": "int8",
        "apart@checkpoint": "float32",
        "apart@xiao-esp32s3": "int8",
        "apart@nvidia-a100": "float32",
    }
    assert set(plan_good(workspace)) == set(schemes)


def test_calibration_is_for_schemes_of_the_targets(workspace: Path) -> None:
    """The comment on calibration names only schemes that the targets have."""
    assert _new(workspace, "mine", *_words("", "tags", "nvidia-rtx-aot")) == 0
    text = (workspace / "recipes" / "mine.yaml").read_text()
    assert "# int8 also needs `calibration:" in text
    assert "int16x8" not in text


def test_weights_are_used_or_trained_as_the_data_asks(workspace: Path) -> None:
    """Weights with the data's classes are used unchanged, others are trained."""
    for name, data in (("same", "tags"), ("other", "hands"), ("boxes", "boxes")):
        assert _new(workspace, name, *_words("weights/tags.pt", data, "host")) == 0
    trained = {
        build: any(step.stage == "train" for step in plan.steps)
        for build, plan in plan_good(workspace).items()
    }
    assert trained == {"same@host": False, "other@host": True, "boxes@host": True}


@pytest.mark.parametrize("family", trained_names())
@pytest.mark.parametrize("target", _TARGETS)
def test_every_family_is_drafted_for_every_board(
    workspace: Path, target: str, family: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """`--family` gives a correct recipe for every board."""
    given = ["", "data/tags/data.yaml", "data/boxes/data.yaml", "data/own/annotations.json"]
    texts = {}
    for number, data in enumerate(given):
        words = ["--family", family, "--target", target, *(["--data", data] if data else [])]
        assert _new(workspace, f"mine-{number}", *words) == 0
        path = workspace / "recipes" / f"mine-{number}.yaml"
        texts[path] = path.read_text()
        path.unlink()  # `new` checks the whole workspace
    for path, text in texts.items():
        path.write_text(text)
    plans = plan_all(workspace)
    surprising = _surprising(plans)
    assert not surprising, "\n".join(found.render() for found in surprising)
    assert len(plans.plans) == len(given)


def test_what_was_trained_here_is_known_again(
    workspace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """`new` recognizes the family of checkpoints that were trained here."""
    assert _new(workspace, "mine", "--from", "weights/cells.pt") == 0
    told = "found  weights/cells.pt: a detect network (yolox-tiny), 2 classes: bar, egg\n"
    assert told in capsys.readouterr().out
    recipe = read_document(workspace / "recipes" / "mine.yaml", "mine")
    assert recipe.get("source", "family") == "yolox"
    assert recipe.get("source", "architecture") == "yolox-tiny"
    plan_good(workspace)


def test_a_real_checkpoint_says_its_size(
    workspace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The input size of a real checkpoint is written into the recipe."""
    shutil.copy(REPOSITORY / "weights" / "fiducials-start.pt", workspace / "weights")
    assert _new(workspace, "mine", *_words("weights/fiducials-start.pt", "", "host")) == 0
    told = "a pose network (yolov8n-pose), 1 class: tag; 4 keypoints; trained at 192 px\n"
    assert told in capsys.readouterr().out
    assert "input: {size: 192} " in (workspace / "recipes" / "mine.yaml").read_text()
    plan_good(workspace)


def test_what_is_missing_is_reported_at_once(
    workspace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Missing options are reported at once."""
    (workspace / "data" / "mine" / "a.jpg").unlink()
    assert _new(workspace, "mine", *_words("weights/tags.pt", "", "xiao-esp32s3")) == 2
    printed = capsys.readouterr().out
    assert "found  weights/tags.pt: a pose network, 1 class: tag; 4 keypoints\n" in printed
    assert "error: no file matches data/mine/**/*.jpg" in printed
    assert cli.main(["-C", str(workspace), "check"]) == 2
    assert "error: no file matches data/mine/**/*.jpg" in capsys.readouterr().out
    assert printed.endswith("next:  buildsys check   # after these changes\n")


def test_findings_of_check_about_the_data_are_reported_too(
    workspace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Mistakes in the data's own files are also reported."""
    data = workspace / "data" / "hands" / "data.yaml"
    lines = data.read_text().splitlines(keepends=True)
    data.write_text("".join(line for line in lines if "flip_idx" not in line))
    assert _new(workspace, "mine", "--data", "data/hands/data.yaml") == 0
    told = capsys.readouterr().out
    assert cli.main(["-C", str(workspace), "check"]) == 0
    warned = capsys.readouterr().out.removesuffix("1 build, no mistake\n")
    assert warned.startswith("data/hands/data.yaml:")
    assert warned in told


def test_odd_names_stay_text(workspace: Path) -> None:
    """Unusual file and class names are quoted and cannot break out of comments."""
    odd = workspace / "weights" / "my: {best}, #1 – ü.pt"
    write_checkpoint(odd, Head(kind="Detect", classes=("a', evil: true} # ü", 'b"]: &x *y')))
    assert _new(workspace, "mine", "--from", f"weights/{odd.name}") == 0
    recipe = read_document(workspace / "recipes" / "mine.yaml", "mine")
    assert recipe.get("source", "weights", "path") == f"weights/{odd.name}"
    assert recipe.get("evil") is None
    write_data(workspace / "data" / "odd, #2", Data(classes=("x",)))
    assert _new(workspace, "two", "--data", "data/odd, #2/data.yaml") == 0
    plan_good(workspace)


def test_a_board_of_one_s_own(workspace: Path) -> None:
    """`new` also accepts the workspace's own targets."""
    write_target(
        workspace,
        "mine-too",
        "label: Mine\npipelines: {int16x8: [convert_tflite, package_files]}\n",
    )
    assert _new(workspace, "mine", *_words("weights/tags.pt", "", "mine-too")) == 0
    assert "scheme: int16x8" in (workspace / "recipes" / "mine.yaml").read_text()
    plan_good(workspace)


def test_absolute_path_inside_is_written_from_the_root(workspace: Path) -> None:
    """An absolute path inside the workspace is written relative to its root."""
    assert _new(workspace, "mine", "--from", str(workspace / "weights" / "tags.pt")) == 0
    assert "{path: weights/tags.pt," in (workspace / "recipes" / "mine.yaml").read_text()


_WRONG = {
    "bad name": (["Best Model.yaml"], "for example best-model"),
    "empty name": ([""], "is not a recipe name"),
    "reserved": (["report"], "is reserved for a task"),
    "taken": (["taken"], "recipes/taken.yaml: error: exists"),
    "unknown target": (["x", "--target", "grove-vision-ai"], "did you mean `grove-vision-ai-v2`?"),
    "word of a target": (["x", "--target", "grove"], "did you mean `grove-vision-ai-v2`?"),
    "unknown family": (["x", "--family", "yolx"], "did you mean `yolox`?"),
    "no family": (["x", "--family", "onnx"], "there are: ultralytics, yolox"),
    "family that does not train": (
        ["x", "--family", "yolov4"],
        "there are: ultralytics, yolox",
    ),
    "another family": (
        ["x", "--from", "weights/tags.pt", "--family", "yolox"],
        "is of family ultralytics, not yolox",
    ),
    "family without the task": (
        ["x", "--family", "yolox", "--data", "data/fruit"],
        "family yolox has no networks for it",
    ),
    "not here": (["x", "--from", "weights/gone.pt"], "weights/gone.pt: error: does not exist"),
    "folder": (["x", "--from", "weights"], "is a directory"),
    "truncated": (["x", "--from", "weights/cut.pt"], "the file is damaged or cut off"),
    "no checkpoint": (["x", "--from", "weights/text.pt"], "this is not a PyTorch checkpoint"),
    "no network": (["x", "--from", "weights/other.pt"], "does not contain a whole model"),
    "no step": (["x", "--from", "weights/world.pt"], "is a network that no step supports: it gets"),
    "empty": (["x", "--from", "weights/empty.onnx"], "is empty"),
    "no tflite": (["x", "--from", "weights/page.tflite"], "this is a page of a web site"),
    "unknown ending": (["x", "--from", "doit.cfg"], "does not have the ending of a model file"),
    "outside": (
        ["x", "--from", "../best.pt"],
        "use --copy to copy it to weights/, or --link to leave",
    ),
    "data outside": (
        ["x", "--data", "../d/data.yaml"],
        "use --copy to copy it to data/, or --link to leave it there",
    ),
    "images alone": (["x", "--data", "data/cam"], "--from weights/best.pt"),
    "one image": (["x", "--data", "data/mine/a.jpg"], "give the folder that contains it"),
    "data not here": (
        ["x", "--data", "data/tag/data.yaml"],
        "data/tag/data.yaml: error: does not exist",
    ),
}


@pytest.mark.parametrize("case", _WRONG.values(), ids=_WRONG)
def test_wrong_words_are_reported_and_leave_nothing(
    workspace: Path, case: tuple[list[str], str], capsys: pytest.CaptureFixture[str]
) -> None:
    """Wrong arguments are reported, and no file is written or overwritten."""
    words, expected = case
    weights = workspace / "weights"
    (weights / "cut.pt").write_bytes((weights / "tags.pt").read_bytes()[:-30])
    (weights / "text.pt").write_text("hello")
    (weights / "other.pt").write_bytes(checkpoint_of("no network"))
    write_checkpoint(weights / "world.pt", Head(kind="WorldDetect", classes=("a",)))
    (weights / "empty.onnx").touch()
    (weights / "page.tflite").write_text("<!DOCTYPE html><html>404")
    (workspace.parent / "best.pt").write_bytes((weights / "tags.pt").read_bytes())
    (workspace / "recipes" / "taken.yaml").write_text("mine\n")
    assert _new(workspace, *words) == 2
    told = capsys.readouterr()
    assert expected in told.err
    assert told.out == ""
    assert [path.name for path in (workspace / "recipes").iterdir()] == ["taken.yaml"]
    assert (workspace / "recipes" / "taken.yaml").read_text() == "mine\n"


@pytest.mark.parametrize("words", [("--data", "pipe.json"), ("--from", "pipe.pt")])
def test_a_pipe_is_reported_and_never_waited_for(
    workspace: Path, words: tuple[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    """A named pipe is reported without opening it, which would block."""
    os.mkfifo(workspace / words[1])
    assert cli.main(["-C", str(workspace), "new", "piped", *words]) == 2
    assert f"{words[1]}: error: " in "".join(capsys.readouterr())
