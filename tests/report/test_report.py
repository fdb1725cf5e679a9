"""The report contains every status, each figure with its digest, and is not rendered twice."""

import dataclasses
import json
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from buildsys.cli import main
from buildsys.errors import ToolUnavailable
from buildsys.execution.running.process import Command, OnProgress
from buildsys.execution.session.session import Session
from buildsys.execution.store.store import Store
from buildsys.graph import build_plans
from buildsys.operations.predict import check_built
from buildsys.outcome import UP_TO_DATE
from buildsys.report import evidence, failure_logs, writing
from buildsys.steps.lib.report import formatting, markdown, values
from buildsys.steps.lib.report.values import Artifact, Failure, Regression, Report
from tests.authoring import golden
from tests.conftest import StandIn, no_environment
from tests.execution.test_doit import doit, place, statuses
from tests.report import training_sample
from tests.report.report_sample import sample

__all__ = ["place"]
GROVE, XIAO = "tags@grove-vision-ai-v2", "tags@xiao-esp32s3"


@pytest.fixture
def pages(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the stand-in render pages, too."""
    monkeypatch.setenv("BUILDSYS_REPORT", "pages")


def run(workspace: Path, tools: StandIn, *builds: str) -> tuple[Report, list[str]]:
    """Run with a report; return its data and the messages about it."""
    session = Session(workspace, tools, no_environment)
    rows = session.build(list(builds) or list(session.plans)) + session.broken_rows()
    lines, _ = writing.finish_run(session, rows)
    session.close()
    return read(workspace), lines


def read(workspace: Path) -> Report:
    """Read the report's data."""
    return values.load(workspace / ".buildsys" / "report" / "data" / "report.json")


def find(report: Report, build: str) -> Artifact:
    """Find one build in a report."""
    return next(item for item in report.artifacts if item.id == build)


def text(workspace: Path) -> str:
    """report.md."""
    return (workspace / "build" / "report" / "report.md").read_text()


def add(workspace: Path, name: str, change: Callable[[str], str]) -> None:
    """Add a recipe that differs from `tags` by a change."""
    recipe = (
        (workspace / "recipes" / "tags.yaml").read_text().replace("name: tags", f"name: {name}")
    )
    (workspace / "recipes" / f"{name}.yaml").write_text(change(recipe))


def test_every_fate_is_a_row(workspace: Path, tools: StandIn) -> None:
    """Each build is a row, whatever its status."""
    run(workspace, tools)
    add(workspace, "red", lambda t: t.replace("min: 0.1", "min: 0.9"))
    add(workspace, "typo", lambda t: t.replace("source:", "sorce:"))
    add(workspace, "later", lambda t: t.replace("start.bin", "absent.bin"))
    add(workspace, "worn", lambda t: t.replace("size: 64", "size: 96"))
    tools.fail = {"convert_onnx2tf"}
    report, _ = run(workspace, tools)
    found = {item.id: item.status for item in report.artifacts}
    assert found == {
        GROVE: "ready",
        XIAO: "ready",
        "red@grove-vision-ai-v2": "rejected",
        "red@xiao-esp32s3": "rejected",
        "typo": "broken",
        "later@grove-vision-ai-v2": "waiting",
        "later@xiao-esp32s3": "waiting",
        "worn@grove-vision-ai-v2": "failed",
        "worn@xiao-esp32s3": "blocked",
    }
    assert "red\\@" not in text(workspace)
    for words in (
        "box.mAP50-95 is 0.5000, below 0.9",
        "failed at convert",
        "waiting for absent.bin",
        "**worn@grove-vision-ai-v2** and 1 more: failed at convert",
        "unknown key \\`sorce\\`",
    ):
        assert words in text(workspace)


def test_a_failed_build_keeps_its_error_and_the_end_of_its_log(
    workspace: Path, tools: StandIn
) -> None:
    """The error and the end of the log are shown for both builds of the failed step, also in later
    reports.
    """
    tools.fail = {"convert_onnx2tf"}
    report, _ = run(workspace, tools)
    failures = [find(report, build).failure for build in (GROVE, XIAO)]
    assert failures[0] is not None
    assert failures[0] == failures[1]
    assert failures[0].stage == "convert"
    assert "convert (convert_onnx2tf) failed" in failures[0].message
    assert failures[0].log == ("convert_onnx2tf ran",)
    session = Session(workspace, tools, no_environment)
    writing.finish_run(session, [])
    session.close()
    assert find(read(workspace), GROVE).failure == failures[0]


class Trained(StandIn):
    """Stand-in tools whose trainings and evaluations write curves."""

    def __call__(self, command: Command, on_progress: OnProgress) -> int:
        code = super().__call__(command, on_progress)
        outputs = json.loads(Path(command.arguments[-1]).read_text())["outputs"]
        if "training" in outputs:
            shutil.rmtree(outputs["training"])
            made = training_sample.make_training(Path(outputs["training"]))
            assert made.kept == 8
        if "curves" in outputs:
            training_sample.write_curves(Path(outputs["curves"]), "tflite")
        return code


def test_a_training_that_two_builds_share_is_one(workspace: Path) -> None:
    """A training that two builds share is shown once, with settings, time and curves."""
    report, _ = run(workspace, Trained())
    (training,) = report.trainings
    assert training.builds == (GROVE, XIAO)
    assert find(report, GROVE).training == find(report, XIAO).training == training.files
    assert (dict(training.settings)["epochs"], training.task) == ("2", "pose")
    assert training.measured is not None
    files = workspace / ".buildsys" / "report" / "data" / "files"
    assert (files / training.files / "history.csv").is_file()
    assert (files / training.curves).is_file()
    assert {name for name, _ in find(report, XIAO).curves} == {"checkpoint", "tflite"}
    assert all((files / digest).is_file() for _, digest in find(report, XIAO).curves)


def test_recipes_that_share_a_training_share_its_page(workspace: Path) -> None:
    """Recipes that share a training share its page, named by the shortest name; rejected builds
    link to it, too.
    """
    add(workspace, "tags-strict", lambda t: t.replace("min: 0.1", "min: 0.9"))
    report, _ = run(workspace, Trained())
    (training,) = report.trainings
    assert training.recipe == "tags"
    assert len(training.builds) == 4
    red = find(report, "tags-strict@xiao-esp32s3")
    assert (red.status, red.training) == ("rejected", training.files)


def test_a_training_that_the_store_has_lost_is_left_out(workspace: Path) -> None:
    """A training that the store has lost is omitted; nothing is trained again."""
    tools = Trained()
    report, _ = run(workspace, tools)
    (training,) = report.trainings
    Store(Path(os.environ["BUILDSYS_STORE"])).blob(training.files).unlink()
    shutil.rmtree(workspace / ".buildsys" / "report")
    tools.ran.clear()
    report, _ = run(workspace, tools)
    assert report.trainings == ()
    assert (find(report, GROVE).status, find(report, GROVE).training) == ("ready", "")
    assert not [module for module in tools.ran if module.startswith("train")]


def test_one_cause_of_many_builds_is_one_line() -> None:
    """A cause that many builds share is one line."""
    message = "prepare failed: exit code 3\n    no images\n    log: /a.log\n    to repeat: cd /a"
    failure = Failure(stage="prepare", message=message)
    builds = [
        Artifact(
            id=f"r{i:02}@host",
            recipe=f"r{i:02}",
            target="host",
            label="",
            status="blocked" if i != 7 else "failed",
            detail="failed at prepare" if i == 7 else "blocked by r07@host",
            failure=failure,
        )
        for i in range(20)
    ]
    (cause,) = formatting.causes(builds)
    assert (cause.builds[0].id, len(cause.builds)) == ("r07@host", 20)
    told = markdown.render(Report(version="0", artifacts=tuple(builds)))
    assert told.count("no images") == 1
    assert "/a" not in told
    assert "**r07@host** and 19 more: failed at prepare" in told


def test_logs_are_shown_as_a_terminal_left_them() -> None:
    """Logs are shown without colours and overwritten progress bars, and shortened."""
    text = "\x1b[31mred\x1b[0m\r\n1%\r50%\r100%\n" + "x" * 900 + "\n\x07bell\n"
    lines = failure_logs.last_lines(text)
    assert lines[:2] == ("red", "100%")
    assert len(lines[2]) < 500
    assert lines[3] == "bell"
    assert len(failure_logs.last_lines("line\n" * 100)) == 40
    assert failure_logs.last_lines("") == ()


def test_what_was_proved_is_read_from_the_manifest(workspace: Path, tools: StandIn) -> None:
    """Evidence is read from the manifest, for a measured package and for one that was only packed."""
    report, _ = run(workspace, tools)
    assert find(report, XIAO).proved
    place = workspace / "build/tags/xiao-esp32s3/manifest.json"
    manifest = json.loads(place.read_text())
    manifest["steps"] = [step for step in manifest["steps"] if step["stage"] == "package"]
    place.write_text(json.dumps(manifest))
    session = Session(workspace, tools, no_environment)
    writing.finish_run(session, [])
    session.close()
    assert not find(read(workspace), XIAO).proved


def test_a_package_without_any_proof_says_so() -> None:
    """A package without evidence is called not verified in the table and in the count."""
    bare = dataclasses.replace(
        find(sample(), XIAO), measured=(), latency=(), proved=False, differs=(), regressions=()
    )
    told = markdown.render(Report(version="0", artifacts=(bare,)))
    assert "1 build: 1 ready, not verified" in told
    assert "| tags@xiao-esp32s3 | ready, not verified |" in told
    assert formatting.tone(bare) == "quiet"


def test_figures_carry_the_digest_of_their_file(workspace: Path, tools: StandIn) -> None:
    """Figures name their file's digest; the accuracy's file is the one before the compiler, the
    drop is against the float file.
    """
    report, _ = run(workspace, tools)
    grove = find(report, GROVE)
    manifest = json.loads((workspace / "build/tags/grove-vision-ai-v2/manifest.json").read_text())
    assert grove.sha256 == manifest["files"]["model.tflite"]["sha256"]
    assert grove.shipped is not None
    assert grove.original is not None
    assert (grove.shipped.name, grove.original.name) == ("tflite", "checkpoint")
    assert grove.shipped.sha256[:8] in text(workspace)
    assert grove.sha256 in text(workspace)
    arena, flash = grove.budgets
    assert (arena.need_bytes, arena.has_bytes) == (100 * 1024 + 1536, 1110 * 1024)
    assert flash.has_bytes == 4096 * 1024


def test_a_rejected_build_keeps_its_figures(workspace: Path, tools: StandIn) -> None:
    """A rejected build keeps its figures in the report."""
    tools.metric = 0.05
    report, _ = run(workspace, tools)
    grove = find(report, GROVE)
    assert grove.reasons == ("box.mAP50-95 is 0.0500, below 0.1",)
    assert grove.sha256
    assert grove.shipped is not None
    assert dict(grove.shipped.metrics) == {"box.mAP50-95": 0.05}
    stages = [step.stage for step in grove.steps]
    assert "gate" in stages
    assert "package" not in stages


def test_builds_that_were_not_requested_keep_their_status(workspace: Path, tools: StandIn) -> None:
    """Builds that were not requested keep their status."""
    report, _ = run(workspace, tools, GROVE)
    assert find(report, XIAO).status == "not built"
    tools.fail = {"package_flash"}
    report, _ = run(workspace, tools, XIAO)
    assert (find(report, GROVE).status, find(report, XIAO).status) == ("ready", "failed")
    tools.fail = set()
    report, _ = run(workspace, tools, GROVE)
    assert find(report, XIAO).detail == "failed at package"
    recipe = workspace / "recipes" / "tags.yaml"
    run(workspace, tools)
    recipe.write_text(recipe.read_text().replace("epochs: 2", "epochs: 3"))
    report, _ = run(workspace, tools, GROVE)
    assert find(report, XIAO).status == "stale"


@pytest.mark.usefixtures("pages")
def test_what_says_the_same_is_not_rendered_again(workspace: Path, tools: StandIn) -> None:
    """An unchanged report is not rendered again; a deleted or edited one is restored from the
    store.
    """
    time.sleep(0.06)
    _, first = run(workspace, tools)
    assert first == ["report: build/report/index.html"]
    _, second = run(workspace, tools)
    assert second == []
    page = workspace / "build" / "report" / "file"
    before = page.read_bytes()
    page.write_bytes(b"edited")
    run(workspace, tools)
    assert page.read_bytes() == before
    shutil.rmtree(workspace / "build" / "report")
    run(workspace, tools)
    assert page.read_bytes() == before
    assert tools.ran.count("render_report") == 1
    tools.metric = 0.4
    recipe = workspace / "recipes" / "tags.yaml"
    recipe.write_text(recipe.read_text().replace("epochs: 2", "epochs: 3"))
    run(workspace, tools)
    assert tools.ran.count("render_report") == 2
    assert not list((workspace / "build").glob(".report*"))


def test_the_command_names_the_page_that_is_there(
    workspace: Path, tools: StandIn, capsys: pytest.CaptureFixture[str]
) -> None:
    """`buildsys report` names the page that exists, or prints that none could be written."""
    run(workspace, tools)
    capsys.readouterr()
    assert main(["-C", str(workspace), "report"]) == 0
    assert capsys.readouterr().out == "report: build/report/report.md\n"
    folder = workspace / "build" / "report"
    shutil.rmtree(folder)
    folder.symlink_to(workspace)
    assert main(["-C", str(workspace), "report"]) == 1
    assert capsys.readouterr().err.startswith("the report was not written: ")


@pytest.mark.usefixtures("pages")
def test_without_its_environment_the_report_is_text(workspace: Path, tools: StandIn) -> None:
    """Without its environment the report is only text, and the run succeeds."""

    def ensure(name: str, say: Callable[[str], None]) -> tuple[str, Path]:
        if name == "report":
            raise ToolUnavailable("the tool environment report could not be made: no index.\n  uv")
        return no_environment(name, say)

    run(workspace, tools)
    (workspace / "baselines.json").write_text(json.dumps({GROVE: {"bytes": 1}}))
    session = Session(workspace, tools, ensure)
    lines, is_whole = writing.finish_run(session, session.build(list(session.plans)))
    session.close()
    assert not is_whole
    assert lines[-1] == (
        "the report's pages were not made, build/report/report.md was:"
        " the tool environment report could not be made: no index."
    )
    assert [path.name for path in (workspace / "build" / "report").iterdir()] == ["report.md"]
    assert "Worse than baselines.json" in text(workspace)


def test_a_regression_is_shown_said_and_accepted(
    workspace: Path, tools: StandIn, capsys: pytest.CaptureFixture[str]
) -> None:
    """A regression within the gate is shown, changes the exit code only on request, and can be
    accepted.
    """
    run(workspace, tools)
    report = ["-C", str(workspace), "report"]
    assert main([*report, "--accept"]) == 0
    accepted = json.loads((workspace / "baselines.json").read_text())
    assert list(accepted) == [GROVE, XIAO]
    assert accepted[GROVE] == {"box.mAP50-95": 0.5, "bytes": 64}
    tools.metric = 0.45
    recipe = workspace / "recipes" / "tags.yaml"
    recipe.write_text(recipe.read_text().replace("epochs: 2", "epochs: 3"))
    found, lines = run(workspace, tools)
    assert lines[0] == (
        f"{GROVE}: worse than baselines.json: box.mAP50-95 fell by 0.0500: 0.5000 → 0.4500"
        " (0.0020 is tolerated)"
    )
    assert find(found, GROVE).good
    assert lines[0].partition("json: ")[2] in text(workspace)
    capsys.readouterr()
    assert main(report) == 0
    assert main([*report, "--fail-on-regression"]) == 1
    assert lines[0] in capsys.readouterr().out
    assert main([*report, "--accept", XIAO]) == 0
    assert json.loads((workspace / "baselines.json").read_text())[GROVE] == accepted[GROVE]
    assert main([*report, "--accept", "--fail-on-regression"]) == 0
    (workspace / "recipes" / "zz.yaml").write_text("name: zz\nsurce: 1\n")
    capsys.readouterr()
    assert main([*report, "--accept", "zz"]) == 2
    assert "zz: error: cannot be built: its recipe has a mistake" in capsys.readouterr().err


def test_looking_at_builds_records_no_outcome(workspace: Path, tools: StandIn) -> None:
    """What a build's state is can be asked outside a run, whose outcomes stay as they are."""
    run(workspace, tools)
    session = Session(workspace, tools, no_environment)
    report = writing.gather(session, [])
    (plan, *_) = build_plans(session.plans.values())
    check_built(session, plan)
    outcome = session.publisher.current_outcome(plan)
    session.close()
    assert {item.status for item in report.artifacts} == {"ready"}
    assert outcome == UP_TO_DATE
    assert session.publisher.outcomes == {}


def test_a_mistake_in_a_recipe_keeps_its_baselines(
    workspace: Path, tools: StandIn, capsys: pytest.CaptureFixture[str]
) -> None:
    """Accepting removes, and prints, the rows of builds that no longer exist; the builds of a recipe
    with a mistake are only unknown.
    """
    run(workspace, tools)
    known = {name: {"bytes": 1} for name in ("gone@host", "tags-96@host", "tags2@host")}
    baselines = workspace / "baselines.json"
    baselines.write_text(json.dumps({**known, GROVE: {"bytes": 2}}))
    recipe = workspace / "recipes" / "tags.yaml"
    recipe.write_text(recipe.read_text().replace("source:", "sorce:"))
    capsys.readouterr()
    assert main(["-C", str(workspace), "report", "--accept"]) == 0
    assert json.loads(baselines.read_text()) == {
        "tags-96@host": {"bytes": 1},
        GROVE: {"bytes": 2},
    }
    lines = capsys.readouterr().out.splitlines()
    assert lines[:2] == [
        "removed the figures of gone@host: it is not a build of this workspace",
        "removed the figures of tags2@host: it is not a build of this workspace",
    ]


def test_a_regression_states_more_than_is_tolerated() -> None:
    """Where the usual digits equal the tolerance, an accuracy has six; tolerated bytes are never
    rounded up.
    """
    found = Regression(metric="top1", now=0.83998, then=0.85, tolerance=0.01)
    assert formatting.worse(found) == (
        "top1 fell by 0.010020: 0.850000 → 0.839980 (0.0100 is tolerated)"
    )
    found = Regression(metric="top1", now=0.83997, then=0.85, tolerance=0.01002)
    assert formatting.worse(found) == (
        "top1 fell by 0.010030: 0.850000 → 0.839970 (0.01002 is tolerated)"
    )
    found = Regression(metric="bytes", now=1_034_306.0, then=1_024_065.0, tolerance=10_240.65)
    assert formatting.worse(found) == (
        "bytes grew by 10,241: 1,024,065 → 1,034,306 (10,240 is tolerated)"
    )


def test_tolerated_bytes_are_whole() -> None:
    """A share of a file's size is shown in bytes."""
    found = Regression(metric="bytes", now=2_200_000.0, then=1_115_104.0, tolerance=11_151.04)
    assert formatting.worse(found) == (
        "bytes grew by 1,084,896: 1,115,104 → 2,200,000 (11,151 is tolerated)"
    )


def test_a_build_that_ships_no_more_is_worse_than_its_baseline(
    workspace: Path, tools: StandIn, capsys: pytest.CaptureFixture[str]
) -> None:
    """A build of baselines.json without figures is named; a rejected or broken one ends with 1, one
    that is not built or was removed does not.
    """
    report = ["-C", str(workspace), "report", "--fail-on-regression"]
    (workspace / "baselines.json").write_text(json.dumps({"gone@host": {"bytes": 1}, GROVE: {}}))
    assert main(report) == 0
    assert capsys.readouterr().out.splitlines()[:2] == [
        "gone@host: not compared: it is not a build of this workspace (baselines.json has its figures)",
        f"{GROVE}: not compared: not built (baselines.json has its figures)",
    ]
    tools.metric = 0.05
    run(workspace, tools)
    capsys.readouterr()
    assert main(report) == 1
    rejected = capsys.readouterr().out.splitlines()[1]
    assert rejected.startswith(f"{GROVE}: nothing can be shipped any more: rejected by gate")
    tools.metric = 0.5
    add(workspace, "tags-v2", lambda text: text.replace("epochs: 2", "epochs: 3"))
    other = GROVE.replace("tags@", "tags-v2@")
    run(workspace, tools)
    recipe = workspace / "recipes" / "tags.yaml"
    recipe.write_text(recipe.read_text().replace("source:", "sorce:"))
    figures = {name: {"bytes": 1000} for name in (other, "tags-v3@host", GROVE)}
    (workspace / "baselines.json").write_text(json.dumps(figures))
    capsys.readouterr()
    assert main(report) == 1
    lost = [line.partition(":")[0] for line in capsys.readouterr().out.splitlines()[:-1]]
    assert lost == ["tags-v3@host", GROVE]
    assert main(report) == 1
    assert f"{GROVE}: nothing can be shipped any more: recipes/tags.yaml:2:1" in (
        capsys.readouterr().out
    )


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ("{", "1:2: error: the file does not contain baselines: this is not JSON"),
        ("[]", "1:1: error: the file does not contain baselines: it is not an object"),
        (
            '{"a@b": 3}',
            "1:9: error: the file does not contain baselines: `a@b`: it is not an object",
        ),
        (
            '{"a@b":\n {"bytes": "many"}}',
            "2:12: error: the file does not contain baselines: `a@b.bytes`: it is not a",
        ),
        ('{"a@b": {"bytes": -1}}', "`a@b.bytes`: it is below zero"),
        ('{"tolerances": {"speed": 1}}', "error: `tolerances` has `speed`"),
    ],
)
def test_a_damaged_baseline_is_reported(
    workspace: Path, tools: StandIn, capsys: pytest.CaptureFixture[str], data: str, message: str
) -> None:
    """A damaged baseline is reported: a run continues, `buildsys report` gives exit code 2."""
    (workspace / "baselines.json").write_text(data)
    session = Session(workspace, tools, no_environment)
    lines, is_whole = writing.finish_run(session, session.build(list(session.plans)))
    session.close()
    assert not is_whole
    assert message in lines[0]
    assert main(["-C", str(workspace), "report"]) == 2
    assert message in capsys.readouterr().err


def test_a_name_that_nothing_has_is_not_accepted(
    workspace: Path, tools: StandIn, capsys: pytest.CaptureFixture[str]
) -> None:
    """Accepting an unknown build is an error."""
    run(workspace, tools)
    assert main(["-C", str(workspace), "report", "--accept", "tasg@xiao-esp32s3"]) == 2
    assert "did you mean `tags@xiao-esp32s3`?" in capsys.readouterr().err
    assert not (workspace / "baselines.json").exists()


@pytest.mark.slow
def test_doit_report_builds_nothing(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`doit report` builds nothing; an unknown name is an error."""
    first = doit(place, "report")
    assert first.returncode == 0, first.stderr
    assert "plain: not built: host" in text(place)
    assert not (place / "build" / "plain").exists()
    doit(place)
    assert statuses(place) == {"plain@host": "built"}
    assert "plain@host | ready" in text(place)
    shutil.rmtree(place / "build" / "report")
    assert doit(place, "report").returncode == 0
    assert "plain@host | ready" in text(place)
    assert "did you mean" in doit(place, "reprot").stderr
    assert "report" in doit(place, "list").stdout
    assert doit(place, "clean", "report").returncode == 0
    assert not (place / "build" / "report").exists()
    monkeypatch.setenv("BUILDSYS_REPORT", "none")
    assert doit(place, "report").stdout == "no report is written: BUILDSYS_REPORT is none\n"


def test_report_md_reads_like_this() -> None:
    """report.md equals the golden file."""
    golden.compare(markdown.render(sample()), Path(__file__).with_name("report"), ())


def test_hostile_names_mean_nothing_to_markdown() -> None:
    """Hostile names of classes, files and machines do not change the Markdown structure."""
    nasty = "<script>alert(1)</script> | ![x](http://a) `b`\n# c"
    item = dataclasses.replace(sample().artifacts[-2], label=nasty, unverified=(nasty,))
    rendered = markdown.render(Report(version="1", artifacts=(item,), mistakes=()))
    assert "<script>" not in rendered
    assert "![" not in rendered.replace("!\\[", "")
    assert "\n# c" not in rendered


def test_evidence_of_another_shape_is_left_out() -> None:
    """Evidence with an unknown structure is omitted."""
    data: Any
    for data in (None, 3, [], "x", {"rungs": 3}, {"rungs": [{"from": 1}]}, {"rungs": [None]}):
        assert evidence.read_ladder(data) is None
        assert evidence.read_budgets(data) == ()
        assert evidence.read_latency({"entries": [data]}, frozenset()) == ()
        assert evidence.read_measured({"tflite": data}) == ()
        assert evidence.read_image_comparisons(data) == ((), ())


def test_classes_without_objects_have_no_metrics() -> None:
    """A metric that is null in metrics.json is no 0, but a class without objects."""
    row = {"model": {"sha256": "a"}, "metrics": {"top1": 0.5, "top1.egg": None, "top1.bar": 0.25}}
    (found,) = evidence.read_measured({"tflite": row})
    assert found.metrics == (("top1", 0.5), ("top1.bar", 0.25))
    assert found.without_objects == ("egg",)


def test_a_ladder_keeps_the_verdicts_of_its_proof() -> None:
    """Each output of a ladder has the verdict of its proof, also one that is not a number; random
    weights are not judged.
    """
    box = {"kind": "box", "figure": "signal to noise, dB", "value": 4.0, "limit": 10.0}
    cls = {"kind": "score", "figure": "largest difference", "value": 0.1, "limit": 0.2}
    outputs = {
        "box": {**box, "passed": False},
        "cls": {**cls, "passed": True},
        "odd": {
            "kind": "score",
            "figure": "unequal values",
            "value": 3,
            "limit": None,
            "passed": True,
        },
        "nan": {**cls, "value": None, "passed": False},
        "nan without a limit": {**cls, "value": None, "limit": None, "passed": False},
        "equal when rounded": {**cls, "value": 0.2, "passed": False},
    }
    rung = {
        "from": "onnx",
        "to": "tflite",
        "passed": False,
        "outputs": outputs,
        "detections": {"matched": 5, "boxes": {"mean": 0.9}},
    }
    data = {
        "passed": False,
        "failures": ["a"],
        "pictures": 2,
        "rungs": [rung],
        "first_failing": "onnx → tflite",
    }
    ladder = evidence.read_ladder(data)
    assert ladder is not None
    assert [item.passed for item in ladder.rungs[0].outputs] == [
        False,
        True,
        None,
        False,
        False,
        False,
    ]
    assert ladder.rungs[0].detections == (("Matched", "5"), ("Boxes, mean", "0.9"))
    free = {**rung, "passed": True, "outputs": {"odd": outputs["odd"]}, "note": "not trained"}
    unjudged = evidence.read_ladder({**data, "passed": True, "rungs": [free]})
    assert unjudged is not None
    assert (unjudged.passed, unjudged.rungs[0].passed) == (None, None)
    assert unjudged.rungs[0].note == "not trained"


def test_a_budget_that_is_exceeded_is_not_shown_as_met() -> None:
    """Only a share of 1 is 100 %, and what is needed is rounded up."""
    shares = [formatting.percent(value) for value in (0.5, 0.999, 1.0, 1.004, 1.5)]
    assert shares == ["50%", "99%", "100%", "101%", "150%"]
    needs = [formatting.need_kib(count) for count in (1024, 1025, 10 * 1024, 256 * 1024 + 1)]
    assert needs == ["1.0", "1.1", "10", "257"]


def test_evidence_reads_like_words() -> None:
    """Evidence is shown as text, not as JSON, without empty lists."""
    tensor = {
        "bytes": 576,
        "dtype": "int8",
        "scale": 0.215697,
        "shape": [1, 576, 1],
        "zero_point": 114,
    }
    data = {
        "passed": True,
        "failures": [],
        "arena_bytes": 300716,
        "difference_bytes": None,
        "boxes": {"mean_iou": 0.9},
        "outputs": [tensor, {"dtype": "int8", "shape": [1, 4]}],
        "operators": ["ethos-u", "TRANSPOSE"],
        "unverified": ["how it rounds", "its thresholds"],
        "something_new": 3,
        "odd": [[1], {"a": 2}],
    }
    assert evidence.facts(data) == (
        ("Holds", "yes"),
        ("Boxes, mean IoU", "0.9"),
        ("Not verified", "how it rounds; its thresholds"),
        ("Arena used, bytes", "300,716"),
        ("Outputs", "int8 [1, 576, 1] × 0.215697, zero point 114; int8 [1, 4]"),
        ("Operators", "ethos-u, TRANSPOSE"),
        ("Something new", "3"),
        ("Odd", '[[1],{"a":2}]'),
    )
    assert evidence.facts([1]) == ()


def test_latency_of_an_earlier_file_is_marked() -> None:
    """Latency of an earlier file is marked."""
    entry = {"label": "measured here", "engine": "litert", "mean_ms": 3.0, "sha256": "a"}
    other = {**entry, "sha256": "b"}
    unknown = {**entry, "label": "guessed"}
    found = evidence.read_latency({"entries": [other, unknown, entry]}, frozenset("a"))
    assert [(item.sha256, item.earlier) for item in found] == [("a", False), ("b", True)]
