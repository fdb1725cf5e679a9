"""What plan and the summary say, as golden text."""

from dataclasses import replace
from pathlib import Path

import pytest

from buildsys.cli import main
from buildsys.execution.session.console import Console
from buildsys.execution.session.session import Session
from buildsys.execution.session.summary import Row, render_table
from tests.conftest import StandIn, no_environment

PLAN = """\
tags@grove-vision-ai-v2: stale
    stale     train                train.epochs 2 → 3, recipes/tags.yaml:9
    pending   evaluate-checkpoint  after train
    pending   export               after train
    pending   evaluate-onnx        after export
    pending   convert              after export
    pending   quantize             after convert
    pending   contract             after quantize
    pending   signal               after quantize
    pending   bind                 after quantize; after contract
    pending   evaluate-tflite      after bind; after signal
    pending   compile              after bind
"""


@pytest.mark.usefixtures("built")
def test_plan_says_what_and_why(workspace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Old and new value and the line that says it; a file by its name."""
    recipe = workspace / "recipes" / "tags.yaml"
    recipe.write_text(recipe.read_text().replace("epochs: 2", "epochs: 3"))
    capsys.readouterr()
    assert main(["-C", str(workspace), "plan", "*@grove*"]) == 0
    output = capsys.readouterr().out
    assert output.startswith(PLAN)
    assert "    pending   fit                  after compile\n" in output
    assert "5 other steps need nothing" in output


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
    """Not "the dataset changed"."""
    (workspace / path).write_text(content)
    capsys.readouterr()
    main(["-C", str(workspace), "plan"])
    assert expected in capsys.readouterr().out


@pytest.mark.usefixtures("built")
def test_plan_names_the_tool_version(workspace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """ "vela 4.5.0 → 5.2.0", with the line that chose it."""
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


STATUSES = {
    "tags@grove-vision-ai-v2": "failed at compile",
    "tags@xiao-esp32s3": "rejected by gate: box.mAP50-95 is 0.0500, below 0.1",
}


def test_the_summary_names_step_and_gate(workspace: Path, tools: StandIn) -> None:
    """One row a build, whatever became of it."""
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


def test_progress_counts_as_people_do(capsys: pytest.CaptureFixture[str]) -> None:
    """1137 pictures are not 1.14e+03, and 0.615 epochs are more digits than anybody wants."""
    console = Console(line_every=0.0)
    for step, done, total, unit in (
        ("train", 0.615, 16, "epochs"),
        ("measure", 1137, 12000, "pictures"),
    ):
        console.start(step, step, "never made here")
        console.progress(step, done, total, unit, "")
    console.progress("measure", 12000, 12000, "pictures", "")
    told = capsys.readouterr().err
    assert "0.0 s left" not in told, "what is finished has nothing left"
    assert "train: 0.6 of 16 epochs," in told
    assert "measure: 1137 of 12000 pictures," in told


def test_a_package_without_any_evidence_says_so() -> None:
    """Nothing measured it, nothing judged it: `built` alone sounds like more."""
    row = Row(id="a@host", status="built", seconds=1.0, file="a.onnx", proved=False)
    assert "a@host  built, not verified" in render_table([row])
    assert "not verified" not in render_table([replace(row, proved=True)])
    assert "not verified" not in render_table([replace(row, status="failed at package")])


def test_a_network_that_finds_nothing_is_told() -> None:
    """Without a gate it ships as built, and the zeros stand in a column of many."""
    row = Row(id="a@host", status="built", seconds=1.0, metrics=(("box.mAP50-95", 0.0),))
    assert "a@host: it finds nothing" in render_table([row])
    assert "nothing" not in render_table([replace(row, metrics=(("box.mAP50-95", 0.1),))])
