"""Golden messages of `plan` and of the summary."""

import json
import pickle
import re
import time
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import pytest

from buildsys.cli import main
from buildsys.execution.running.durations import EPOCHS, STATES
from buildsys.execution.running.process import Command, OnProgress
from buildsys.execution.session.console import Console
from buildsys.execution.session.explain import BuildRow, StepRow, render
from buildsys.execution.session.session import Session
from buildsys.execution.session.summary import Row, annotate, render_table
from buildsys.graph import Decision, Reason, Status
from buildsys.outcome import BUILT, Kind, Outcome
from buildsys.steps import train_yolox
from buildsys.steps.lib.families import ultralytics_epochs
from tests.checkpoints import archive_of
from tests.conftest import StandIn, no_environment
from tests.sample_steps import make_step

PLAN = """\
tags@grove-vision-ai-v2: stale
    stale     train                train.epochs 2 → 3, recipes/tags.yaml:9
    pending   22 steps             after train
    5 other steps need nothing
"""
FAILED = Outcome(kind=Kind.FAILED, subject="prepare")


@pytest.mark.usefixtures("built")
def test_plan_says_what_and_why(workspace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`plan` shows old and new value with the line, and changed files by name."""
    recipe = workspace / "recipes" / "tags.yaml"
    recipe.write_text(recipe.read_text().replace("epochs: 2", "epochs: 3"))
    capsys.readouterr()
    assert main(["-C", str(workspace), "plan", "*@grove*"]) == 0
    output = capsys.readouterr().out
    assert output == PLAN


@pytest.mark.parametrize(
    ("module", "name"), [*zip((ultralytics_epochs, train_yolox), STATES, strict=True)]
)
def test_plan_reads_the_state_that_trainings_save(module: ModuleType, name: str) -> None:
    """File and key that `plan` looks for are those that the training steps write."""
    text = Path(module.__file__ or "").read_text()
    assert re.findall(r"""/ "(\w+\.pt)\"""", text) == [name]
    assert f'"{EPOCHS}": ' in text
    assert f'state["{EPOCHS}"]' in text


@pytest.mark.usefixtures("built")
@pytest.mark.parametrize(
    ("name", "epochs", "continues"),
    [
        ("state.pt", 2, "; continues at epoch 3 of 8"),
        ("last.pt", 2, "; continues at epoch 3 of 8"),
        ("state.pt", 8, "; only ends the training: all 8 epochs are done"),
        ("state.pt", 0, ""),
        ("best-2.pt", 2, ""),
    ],
)
def test_plan_says_where_a_training_continues(
    name: str, epochs: int, continues: str, workspace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """`plan` shows the epoch at which an interrupted training continues."""
    recipe = workspace / "recipes" / "tags.yaml"
    recipe.write_text(recipe.read_text().replace("epochs: 2", "epochs: 8"))
    words = ["-C", str(workspace), "plan", "*@grove*"]
    capsys.readouterr()
    main([*words, "--json"])
    (train,) = (
        s
        for s in json.loads(capsys.readouterr().out)["builds"][0]["steps"]
        if s["stage"] == "train"
    )
    work = workspace / ".buildsys" / "scratch" / train["key"] / "work"
    work.mkdir(parents=True)
    state = {"model": {"rate": 0.5}, "rows": [{"loss": 1.5}], "epochs": epochs, "best": (2, 0.25)}
    (work / name).write_bytes(archive_of(pickle.dumps(state, protocol=2)))
    assert main(words) == 0
    reason = "train.epochs 2 → 8, recipes/tags.yaml:9"
    assert f"    stale     train                {reason}{continues}\n" in capsys.readouterr().out
    (work / name).write_bytes(b"PK damaged")
    assert main(words) == 0
    assert f"{reason}\n" in capsys.readouterr().out


@pytest.mark.usefixtures("built")
@pytest.mark.parametrize(
    ("path", "content", "expected"),
    [
        ("tags/images/train/3.jpg", "other", "images/train/3.jpg changed"),
        ("tags/images/train/new.jpg", "new", "images/train/new.jpg is new"),
        ("tags/labels/val/1.txt", "", "labels/val/1.txt changed"),
    ],
)
def test_plan_names_the_file_that_changed(
    path: str,
    content: str,
    expected: str,
    workspace: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """`plan` names the changed file, not only "the dataset changed"."""
    (workspace / path).write_text(content)
    capsys.readouterr()
    main(["-C", str(workspace), "plan"])
    assert expected in capsys.readouterr().out


@pytest.mark.usefixtures("built")
def test_plan_counts_files_by_what_happened_to_them(
    workspace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """New and removed files are not counted together."""
    images = workspace / "tags" / "images" / "train"
    for name in ("new-a.jpg", "new-b.jpg"):
        (images / name).write_text(name)
    (images / "3.jpg").unlink()
    capsys.readouterr()
    main(["-C", str(workspace), "plan"])
    expected = "images/train/new-a.jpg is new (and 1 more); images/train/3.jpg is gone"
    assert expected in capsys.readouterr().out


@pytest.mark.usefixtures("built")
def test_plan_names_the_line_of_other_calibration_images(
    workspace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """`images` instead of `split` is named by its line, for all steps that prepare these images."""
    recipe = workspace / "recipes" / "tags.yaml"
    text, pattern = recipe.read_text(), "tags/images/train/*.jpg"
    recipe.write_text(text.replace("split: train, count", f"images: {pattern}, count"))
    line = next(n for n, x in enumerate(recipe.read_text().splitlines(), 1) if pattern in x)
    capsys.readouterr()
    main(["-C", str(workspace), "plan", "*@grove*"])
    output = capsys.readouterr().out
    place = f"train → {pattern}, recipes/tags.yaml:{line}"
    assert output.count(f"quantization.calibration.images {place}") == 2
    assert f"no earlier file is in {pattern}" in output
    assert "evaluate.split" not in output


@pytest.mark.usefixtures("built")
def test_plan_names_the_tool_version(workspace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`plan` shows the change of a tool's version with its line."""
    recipe = workspace / "recipes" / "tags.yaml"
    text = recipe.read_text().replace(
        "- grove-vision-ai-v2", '- {target: grove-vision-ai-v2, vela: {version: "5.2"}}'
    )
    recipe.write_text(text)
    capsys.readouterr()
    main(["-C", str(workspace), "plan", "*@grove*"])
    output = capsys.readouterr().out
    assert "vela 4.5.0 → 5.2.0" in output
    assert "vela.version 4.5 → 5.2, recipes/tags.yaml:17" in output


@pytest.mark.parametrize(
    ("number", "lines"),
    [
        (
            2,
            [
                "waiting   step-0               data/shop",
                "waiting   step-1               data/shop",
            ],
        ),
        (9, ["waiting   9 steps              data/shop"]),
    ],
)
def test_plan_of_many_steps_that_wait_for_the_same_data_is_one_line(
    number: int, lines: list[str]
) -> None:
    """The data is named once for a build with many steps that wait for it."""
    decision = Decision(status=Status.WAITING, reasons=(Reason(subject="data/shop"),))
    rows = [
        StepRow(step=make_step(f"step-{n}"), decision=decision, undone=False, seconds=None)
        for n in range(number)
    ]
    row = BuildRow(build="tags@host", state=FAILED, steps=tuple(rows))
    assert [line.strip() for line in render([row]).splitlines()[1:]] == lines


def test_plan_of_many_builds_is_not_one_line_a_step(
    workspace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Builds with the same plan share lines; every build is named, and --json is complete."""
    recipe = (workspace / "recipes" / "tags.yaml").read_text()
    for number in range(5):
        text = recipe.replace("name: tags", f"name: z{number}")
        text = text.replace("  - xiao-esp32s3\n", "").replace("start.bin", "absent.bin")
        (workspace / "recipes" / f"z{number}.yaml").write_text(text)
    assert main(["-C", str(workspace), "plan", "z*"]) == 0
    assert capsys.readouterr().out == (
        "z0@grove-vision-ai-v2 and 4 more: waiting for absent.bin\n"
        "    also z1@grove-vision-ai-v2, z2@grove-vision-ai-v2, z3@grove-vision-ai-v2,"
        " z4@grove-vision-ai-v2\n"
    )
    main(["-C", str(workspace), "plan", "z*", "--json"])
    assert len(json.loads(capsys.readouterr().out)["builds"]) == 5


def test_a_broken_dataset_is_one_mistake_of_all_its_recipes(
    workspace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A dataset's mistake is reported once with the number of recipes; their builds are known
    names.
    """
    recipe = (workspace / "recipes" / "tags.yaml").read_text()
    for number in range(7):
        text = recipe.replace("name: tags", f"name: z{number}")
        (workspace / "recipes" / f"z{number}.yaml").write_text(text)
    data = workspace / "tags" / "data.yaml"
    data.write_text(data.read_text().replace("val: images/val", "val: images/nowhere"))
    assert main(["-C", str(workspace), "check"]) == 2
    told = capsys.readouterr().out
    assert told.count("images/nowhere, which does not exist") == 1
    assert "note: for 8 recipes: tags, z0, z1, z2, z3 and 3 more" in told
    assert main(["-C", str(workspace), "plan", "z3@xiao-esp32s3"]) == 2
    told = capsys.readouterr().err
    assert "images/nowhere, which does not exist" in told
    assert "matches no build" not in told


def test_builds_that_one_cause_stops_share_a_row() -> None:
    """Builds with a common cause share a row in table and annotations; summary.json lists each."""
    rows = [Row(id="a@host", outcome=FAILED, seconds=1.0)]
    blocked = Outcome(kind=Kind.BLOCKED, subject="a@host")
    rows += [Row(id=f"b{n}@host", outcome=blocked, seconds=0.0) for n in range(20)]
    lines = render_table(rows).splitlines()
    assert [line.split("  ")[0] for line in lines[2:]] == ["a@host", "b0@host and 19 more"]
    assert len(annotate(rows)) == 2
    assert len(render_table(rows[:4]).splitlines()) == 6


def test_the_table_names_a_long_wait_whole() -> None:
    """A long waiting reason is shown completely, and reasons of a rejection are below the row."""
    address = "https://example.com/data/images-2024.zip"
    waits = Row(id="a@host", outcome=Outcome(kind=Kind.WAITING, subject=address), seconds=0.0)
    assert render_table([waits]).splitlines()[2:] == [f"a@host  waiting for {address}"]
    why = "box.mAP50-95 is 0.0500, below 0.1"
    red = Outcome(kind=Kind.REJECTED, subject="gate", detail=why)
    shown = render_table([Row(id="a@host", outcome=red, seconds=0.0)]).splitlines()[2:]
    assert shown == ["a@host  rejected by gate", f"a@host: rejected by gate: {why}"]


def test_classes_without_objects_are_named_once() -> None:
    """Classes that the measured split does not have are named once for all builds with the same."""
    new = Outcome(kind=Kind.BUILT)
    of_split = {"metrics": (("top1", 0.5),), "split": "val", "without_objects": ("egg",)}
    rows = [Row(id=f"{n}@host", outcome=new, seconds=1.0, **of_split) for n in "abc"]  # type: ignore[arg-type]
    lines = render_table(rows).splitlines()
    why = "the val split has no objects of egg: the accuracy of this class is not measured"
    assert lines[-1] == f"a@host and 2 more: {why}"
    assert sum("egg" in line for line in lines) == 1


STATUSES = {
    "tags@grove-vision-ai-v2": "failed at compile",
    "tags@xiao-esp32s3": "rejected by gate: box.mAP50-95 is 0.0500, below 0.1",
}


def test_the_summary_names_step_and_gate(workspace: Path, tools: StandIn) -> None:
    """The summary has one row per build, with step or gate."""
    tools.metric, tools.fail = 0.05, {"compile_vela"}
    session = Session(workspace, tools, no_environment)
    rows = session.build(list(session.plans))
    session.close()
    assert {row.id: row.status for row in rows} == STATUSES
    table = render_table(rows)
    assert table.startswith("build                    status")
    assert [line.split()[0] for line in table.splitlines()[2:4]] == list(STATUSES)
    assert "failed at compile" in table.splitlines()[2]
    assert table.splitlines()[-1] == (
        "tags@xiao-esp32s3: rejected by gate: box.mAP50-95 is 0.0500, below 0.1"
    )


class Slow(StandIn):
    """Stand-in tools of which some take a while, and then fail."""

    def __call__(self, command: Command, on_progress: OnProgress) -> int:
        if command.arguments[-2] in self.fail:
            time.sleep(0.2)
        return super().__call__(command, on_progress)


def test_a_failed_step_took_time(workspace: Path) -> None:
    """A build's seconds include those of the step that failed, for each build that it is part of."""
    tools = Slow()
    tools.fail = {"convert_onnx2tf"}
    session = Session(workspace, tools, no_environment)
    rows = session.build(list(session.plans))
    session.close()
    assert all(row.seconds >= 0.2 for row in rows), rows


def test_progress_counts_as_people_do(capsys: pytest.CaptureFixture[str]) -> None:
    """Progress shows whole counts as integers and fractions with few digits."""
    console = Console(line_every=0.0)
    for step, done, total, unit in (
        ("train", 0.615, 16, "epochs"),
        ("measure", 1137, 12000, "pictures"),
    ):
        console.start(step, "no recorded result")
        console.progress(step, done, total, unit, "")
    console.progress("measure", 12000, 12000, "pictures", "")
    told = capsys.readouterr().err
    assert "0.0 s left" not in told, "what is finished has nothing left"
    assert "train: 0.6 of 16 epochs," in told
    assert "measure: 1137 of 12000 pictures," in told


def test_a_package_without_any_evidence_says_so() -> None:
    """A package without any evidence is shown as `built, not verified`."""
    row = Row(id="a@host", outcome=BUILT, seconds=1.0, file="a.onnx", proved=False)
    assert "a@host  built, not verified" in render_table([row])
    assert "not verified" not in render_table([replace(row, proved=True)])
    assert "not verified" not in render_table([replace(row, outcome=FAILED)])


@pytest.mark.parametrize(
    ("metrics", "found"),
    [
        ({"box.mAP50-95": 0.0}, "no detection matches a label, every metric is 0"),
        ({"box.mAP50-95": 0.00003}, "no detection matches a label, every metric is 0"),
        ({"box.mAP50-95": 0.1}, ""),
        ({"box.mAP50-95": 0.1, "box.mAP50-95.tag": 0.0}, ""),
        ({"box.mAP50-95": 0.00004, "keypoints.mAP50-95": 0.01}, "box mAP50-95 is 0"),
        ({"box.mAP50-95": 0.8, "keypoints.mAP50-95": 0.0}, "kpt mAP50-95 is 0"),
        (
            {"top1": 0.9, "top1.bad": 0.0, "top1.ok": 1.0, "top5": 1.0},
            "it is only right about images of class ok",
        ),
        (
            {"top1": 0.33, "top1.a": 0.5, "top1.b": 0.49, "top1.c": 0.0},
            "top-1 is not above chance among 3 classes",
        ),
        ({"top1": 0.0, "top1.a": 0.0, "top1.b": 0.0}, "top-1 is not above chance among 2"),
        ({"top1": 0.6, "top1.a": 0.5, "top1.b": 0.7}, ""),
    ],
)
def test_a_network_as_good_as_an_untrained_one_is_reported(
    metrics: dict[str, float], found: str
) -> None:
    """A network that detects nothing, or only guesses, is reported, even without a gate."""
    row = Row(id="a@host", outcome=BUILT, seconds=1.0, metrics=tuple(metrics.items()))
    text = render_table([row])
    assert f"a@host: {found}" in text if found else "train longer" not in text
    assert "train longer" not in render_table([replace(row, outcome=FAILED)])
    others = [replace(row, id=name) for name in ("a@triton-onnx", "b@host")]
    text = render_table([row, *others])
    assert not found or f"a@host and 2 more: {found}" in text
    assert text.count("`pixels`, `decoder` and") == bool(found)


def test_the_estimate_of_a_run_goes_by_epochs(
    workspace: Path, tools: StandIn, capsys: pytest.CaptureFixture[str]
) -> None:
    """A run records a training per epoch; other numbers of epochs take their share of it."""
    session = Session(workspace, tools, no_environment)
    session.build(list(session.plans))
    assert session.database.duration("train_ultralytics per epoch") is not None
    assert session.database.duration("train_ultralytics") is None
    session.database.record_duration("train_ultralytics per epoch", 600.0)
    session.close()
    recipe = workspace / "recipes" / "tags.yaml"
    recipe.write_text(recipe.read_text().replace("epochs: 2", "epochs: 18"))
    capsys.readouterr()
    session = Session(workspace, tools, no_environment)
    session.prepare(list(session.plans))
    session.close()
    guess = re.search(r"steps to run, about 180 min 0\d s by earlier", capsys.readouterr().err)
    assert guess is not None


def test_what_fails_a_plan_is_annotated_as_an_error(
    workspace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """With `--fail-on`, builds in one of its states are errors; others stay notices."""
    words = ["-C", str(workspace), "plan", "--format", "github"]
    assert main(words) == 0
    assert "::notice title=" in capsys.readouterr().out
    assert main([*words, "--fail-on", "waiting,stale"]) == 1
    printed = capsys.readouterr().out
    assert ("::error title=" in printed, "::notice" in printed) == (True, False)


@pytest.mark.parametrize("command", ["check", "plan", "build"])
@pytest.mark.parametrize(
    ("file", "text", "place"),
    [
        ("buildsys.lock", "# merged\n<<<<<<< ours\n", "file=buildsys.lock,line=2,col=1::"),
        ("buildsys.yaml", "remote: {urll: x}\n", "file=buildsys.yaml,line=1,col="),
    ],
)
def test_format_github_annotates_mistakes_in_files_of_the_workspace(
    workspace: Path,
    capsys: pytest.CaptureFixture[str],
    command: str,
    file: str,
    text: str,
    place: str,
) -> None:
    """A mistake that prevents reading the recipes is annotated as well, by each command."""
    (workspace / file).write_text(text)
    assert main(["-C", str(workspace), command, "--format", "github"]) == 2
    assert f"::error {place}" in capsys.readouterr().out
