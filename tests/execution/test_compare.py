"""`benchmark.against`: builds of several recipes timed together, in no other step's way."""

import dataclasses
import hashlib
import json
import shutil
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from buildsys.cli import main
from buildsys.execution.packages.publish import build_folder
from buildsys.execution.places import Workspace
from buildsys.execution.running.process import Command, OnProgress
from buildsys.execution.session.comparing import FILE, compare
from buildsys.execution.session.loading import load_plans
from buildsys.execution.session.session import Session
from buildsys.execution.session.summary import Row
from buildsys.execution.state import ledger
from buildsys.report import writing
from buildsys.report.comparisons import read_comparisons
from buildsys.steps import compare_latency
from buildsys.steps.lib.report.proof_values import Measured
from buildsys.steps.lib.report.values import Artifact
from tests.conftest import StandIn, no_environment
from tests.execution.test_report import read, text

TAGS, MORE = "tags@xiao-esp32s3", "more@xiao-esp32s3"
GROVE = "tags@grove-vision-ai-v2"
BLOCK = "benchmark: {{threads: 1, runs: {runs}, warmup: 3, against: [{against}]}}\n"


class Timer(StandIn):
    """Every file takes a millisecond more than the one before it."""

    def __call__(self, command: Command, on_progress: OnProgress) -> int:
        module, request_path = command.arguments[-2:]
        if module != "compare_latency" or module in self.fail:
            return super().__call__(command, on_progress)
        self.ran.append(module)
        request = json.loads(Path(request_path).read_text())
        params = request["params"]
        rows = [
            {
                **subject,
                "engine": "stand-in",
                "bytes": path.stat().st_size,
                "operators": 9,
                "transposes": index,
                "mean_ms": 5.0 + index,
                "min_ms": 4.0,
                "p50_ms": 4.5,
                "ratio": (5 + index) / 5,
                "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
            }
            for index, subject in enumerate(params["subjects"])
            for path in (Path(request["inputs"][compare_latency.input_name(index)]),)
        ]
        found = {
            "label": "measured here",
            "device": params["machine"],
            "rows": rows,
            **{name: params[name] for name in ("threads", "runs", "warmup")},
        }
        Path(request["outputs"]["comparison"]).write_text(json.dumps(found))
        return 0


@pytest.fixture
def timer() -> Timer:
    """The stand-in of one test."""
    return Timer()


@pytest.fixture
def pair(workspace: Path) -> Path:
    """Recipe `tags`, and `more`, like it, compared with it."""
    write(workspace, against=TAGS)
    time.sleep(0.06)  # what was written this very moment is looked at again
    return workspace


def write(
    workspace: Path, against: str, runs: int = 10, name: str = "more", size: int = 96
) -> None:
    """A recipe like `tags` at another size, compared with others."""
    recipe = (workspace / "recipes" / "tags.yaml").read_text().partition("benchmark")[0]
    recipe = recipe.replace("name: tags", f"name: {name}").replace("size: 64", f"size: {size}")
    recipe = recipe.replace("  - grove-vision-ai-v2\n", "")
    block = BLOCK.format(runs=runs, against=against)
    (workspace / "recipes" / f"{name}.yaml").write_text(recipe + block)


def run(workspace: Path, tools: StandIn, *builds: str) -> tuple[list[Row], list[str]]:
    """A run as doit makes it; its rows, and the modules that ran."""
    tools.ran.clear()
    session = Session(workspace, tools, no_environment, ledger.read(Workspace(workspace)))
    session.build(list(builds) or list(session.plans))
    compare(session)
    session.remember()
    rows = session.rows(session.asked)
    writing.finish_run(session, rows)
    session.close()
    return rows, list(tools.ran)


def beside(workspace: Path, build: str) -> Path:
    """Where a build's comparison lies."""
    return workspace / "build" / build.replace("@", "/") / "comparison.json"


def test_files_are_timed_together_once(pair: Path, timer: Timer) -> None:
    """Every run measures again; or figures of one machine become a proof on all."""
    _, ran = run(pair, timer)
    assert ran.count("compare_latency") == 1
    data = json.loads(beside(pair, MORE).read_text())
    told = [(row["builds"], row["format"], row["scheme"], row["converter"]) for row in data["rows"]]
    assert told == [
        ([MORE], "onnx", "", ""),
        ([MORE], "tflite", "int8", "onnx2tf"),
        ([TAGS], "onnx", "", ""),
        ([TAGS], "tflite", "int8", "onnx2tf"),
    ]
    assert data["runs"] == 10
    assert not beside(pair, TAGS).exists(), "it did not ask"
    manifest = json.loads(beside(pair, MORE).with_name("manifest.json").read_text())
    assert "compare_latency" not in json.dumps(manifest)
    assert run(pair, timer)[1] == []


def test_who_asks_for_the_same_shares_the_figures(pair: Path, timer: Timer) -> None:
    """Two tables of the same files that do not agree."""
    recipe = pair / "recipes" / "tags.yaml"
    recipe.write_text(recipe.read_text() + BLOCK.format(runs=10, against="'*@xiao-esp32s3'"))
    _, ran = run(pair, timer, TAGS, MORE)
    assert ran.count("compare_latency") == 1
    assert beside(pair, TAGS).read_bytes() == beside(pair, MORE).read_bytes()
    assert len(read(pair).comparisons) == 1


def test_editing_the_block_measures_and_makes_nothing_else(pair: Path, timer: Timer) -> None:
    """A training for one more run of a stopwatch."""
    run(pair, timer)
    write(pair, against=TAGS, runs=20)
    _, ran = run(pair, timer)
    assert sorted(set(ran)) == ["benchmark_onnx", "benchmark_tflite", "compare_latency"]
    write(pair, against=f"{TAGS}, '{GROVE}'", runs=20)
    _, ran = run(pair, timer)
    assert ran == [], "the board's own file runs on its NPU alone: the same files are compared"


def test_another_file_of_the_other_is_measured(pair: Path, timer: Timer) -> None:
    """A recipe that needs nothing is not looked at, and its table tells of a file that is gone."""
    time.sleep(0.06)
    run(pair, timer)
    assert "more" in ledger.read(Workspace(pair))
    before = json.loads(beside(pair, MORE).read_text())["rows"]
    other = pair / "recipes" / "tags.yaml"
    other.write_text(
        other.read_text().replace("granularity: per-tensor", "granularity: per-channel")
    )
    assert "more" not in ledger.read(Workspace(pair))
    _, ran = run(pair, timer)
    assert ran.count("compare_latency") == 1
    after = json.loads(beside(pair, MORE).read_text())["rows"]
    changed = [b["sha256"] != a["sha256"] for b, a in zip(before, after, strict=True)]
    assert changed == [False, False, False, True]


def test_a_new_recipe_that_matches_is_compared_too(workspace: Path, timer: Timer) -> None:
    """The third variant is missing from the table until somebody touches the first."""
    write(workspace, against="'*@xiao-esp32s3'")
    time.sleep(0.06)
    run(workspace, timer)
    write(workspace, against=MORE, name="third", size=128)
    run(workspace, timer)
    builds = {row["builds"][0] for row in json.loads(beside(workspace, MORE).read_text())["rows"]}
    assert builds == {TAGS, MORE, "third@xiao-esp32s3"}


@pytest.mark.parametrize("case", ["waits", "fails", "unasked"])
def test_what_is_not_there_is_left_out_and_said(
    pair: Path, timer: Timer, case: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """A build fails because another one did; or a row is missing and nobody says why."""
    recipe = pair / "recipes" / "tags.yaml"
    write(pair, against=f"{TAGS}, third@xiao-esp32s3")
    write(pair, against=MORE, name="third", size=128)
    asked: tuple[str, ...] = ()
    if case == "waits":
        recipe.write_text(recipe.read_text().replace("start.bin", "absent.bin"))
        why = "it waits for absent.bin"
    elif case == "fails":
        recipe.write_text(recipe.read_text().replace("epochs: 2", "epochs: 3"))
        timer = _FailingTraining()
        why = f"blocked by {GROVE}"
    else:
        asked, why = (MORE, "third@xiao-esp32s3"), "not built (a plain `doit` builds all)"
    rows, _ = run(pair, timer, *asked)
    assert {row.status for row in rows if row.id in (MORE, "third@xiao-esp32s3")} == {"built"}
    assert f"{MORE} is compared without {TAGS}: {why}" in capsys.readouterr().err
    builds = {row["builds"][0] for row in json.loads(beside(pair, MORE).read_text())["rows"]}
    assert builds == {MORE, "third@xiao-esp32s3"}
    assert "more" not in ledger.read(Workspace(pair)), "the next run looks whether it is there"


class _FailingTraining(Timer):
    """The training of three epochs alone ends badly."""

    def __call__(self, command: Command, on_progress: OnProgress) -> int:
        if command.arguments[-2] == "train_ultralytics":
            params = json.loads(Path(command.arguments[-1]).read_text())["params"]
            self.fail = {"train_ultralytics"} if params["epochs"] == 3 else set()
        return super().__call__(command, on_progress)


def test_a_comparison_that_fails_is_no_green_run(pair: Path, timer: Timer) -> None:
    """LiteRT cannot run the file, and the run says that all is well."""
    timer.fail = {"compare_latency"}
    rows, _ = run(pair, timer)
    assert {row.id: row.status for row in rows}[MORE] == "failed at compare"
    assert list(pair.glob("build/more/xiao-esp32s3/*.tflite")), "what was proved before still ships"
    timer.fail = set()
    rows, ran = run(pair, timer)
    assert (ran, rows[0].status) == (["compare_latency"], "up-to-date")


def test_a_deleted_table_comes_back_without_measuring(pair: Path, timer: Timer) -> None:
    """`up to date`, and the file is not there."""
    run(pair, timer)
    before = beside(pair, MORE).read_bytes()
    beside(pair, MORE).unlink()
    _, ran = run(pair, timer)
    assert (ran, beside(pair, MORE).read_bytes()) == ([], before)


def test_a_table_stays_when_the_store_is_cleared(pair: Path, timer: Timer, tmp_path: Path) -> None:
    """Clearing the store changes every figure of a workspace in which nothing changed."""
    run(pair, timer)
    shutil.rmtree(tmp_path / "store")
    before = beside(pair, MORE).read_bytes()
    (pair / ".buildsys" / "settled.json").unlink()
    _, ran = run(pair, timer)
    assert (ran, beside(pair, MORE).read_bytes()) == ([], before)
    beside(pair, MORE).unlink()
    _, ran = run(pair, timer)
    assert "compare_latency" in ran, "with the files that it reads"
    assert beside(pair, MORE).is_file()


def test_a_broken_recipe_is_told_once(pair: Path) -> None:
    """One typo in one recipe breaks all that compare themselves with it."""
    recipe = pair / "recipes" / "tags.yaml"
    recipe.write_text(recipe.read_text().replace("source:", "sorce:"))
    plans = load_plans(Workspace(pair))
    assert [plan.build for plan in plans.plans] == [MORE]
    assert {error.path for error in plans.errors} == {"recipes/tags.yaml"}


def test_variants_are_compared_beside_the_one_that_ships(workspace: Path, timer: Timer) -> None:
    """Variants have no folder of their own; their table lies where the best of them is."""
    recipe = workspace / "recipes" / "tags.yaml"
    more = (
        "matrix: {quantization.granularity: [per-tensor, per-channel]}\n"
        "select: {minimize: bytes}\n" + BLOCK.format(runs=10, against="'tags-*@xiao-esp32s3'")
    )
    recipe.write_text(recipe.read_text().replace("  - grove-vision-ai-v2\n", "") + more)
    run(workspace, timer)
    rows = json.loads(beside(workspace, TAGS).read_text())["rows"]
    assert [row["format"] for row in rows] == ["tflite", "onnx", "tflite"]
    shared = next(row for row in rows if row["format"] == "onnx")
    assert shared["builds"] == ["tags-per-channel@xiao-esp32s3", "tags-per-tensor@xiao-esp32s3"]


def test_the_report_has_the_table(pair: Path, timer: Timer) -> None:
    """Figures lie in a file that nobody opens."""
    run(pair, timer)
    (found,) = read(pair).comparisons
    assert [row.mean_ms for row in found.rows] == sorted(row.mean_ms for row in found.rows)
    assert "## Comparison" in text(pair)
    assert "1 thread: 10 runs after 3 to warm up" in text(pair)


def test_plans_with_a_comparison_survive_their_cache(pair: Path) -> None:
    """The second run compares with nothing, or with the first run's builds."""
    first = load_plans(Workspace(pair))
    assert {plan.build: plan.rivals for plan in first.plans if plan.rivals} == {MORE: (MORE, TAGS)}
    assert load_plans(Workspace(pair)) == first
    write(pair, against="tags@nowhere")
    assert load_plans(Workspace(pair)).errors
    assert load_plans(Workspace(pair)).errors


def test_a_mistake_is_at_its_line(pair: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Of several recipes, the one that is wrong, with the nearest build's name."""
    write(pair, against="tags@xiao-esp32s2")
    assert main(["-C", str(pair), "check"]) == 2
    printed = capsys.readouterr().out
    assert "recipes/more.yaml:18:" in printed
    assert "`tags@xiao-esp32s2` matches no build" in printed
    assert "did you mean `tags@xiao-esp32s3`?" in printed


def test_turns_are_taken_in_rounds() -> None:
    """The first file is timed on an idle machine, the last on a hot one."""
    calls: list[str] = []
    inferences: list[Callable[[], object]] = [partial(calls.append, name) for name in "abc"]
    times = compare_latency.take_turns(inferences, runs=2, warmup=1)
    assert "".join(calls) == "abcabcabc"
    assert [len(own) for own in times] == [2, 2, 2]


def test_accuracy_is_that_of_the_same_file(tmp_path: Path) -> None:
    """The table gives the fast file the accuracy of the slow one, or of what shipped before."""
    root = Workspace(tmp_path)
    place = build_folder(root, "a@host") / FILE
    place.parent.mkdir(parents=True)
    row = {
        "builds": ["a@host"],
        "format": "tflite",
        "scheme": "int8",
        "converter": "onnx2tf",
        "engine": "litert",
        "bytes": 9,
        "operators": 2,
        "transposes": 1,
        "mean_ms": 2.0,
        "min_ms": 1.9,
        "p50_ms": 2.0,
        "ratio": 1.0,
        "sha256": "new",
    }
    rows = [row, {**row, "format": "onnx", "sha256": "source"}, {**row, "builds": ["gone@host"]}]
    data = {"label": "measured here", "device": "a CPU", "threads": 1, "runs": 3, "warmup": 1}
    place.write_text(json.dumps({**data, "rows": rows}))
    measured = tuple(
        Measured(
            name=name,
            sha256=sha256,
            split="val",
            pictures=3,
            objects=4,
            metrics=(("box.mAP50-95", value), ("box.mAP50", 0.9)),
        )
        for name, sha256, value in (("tflite", "new", 0.5), ("onnx", "source", 0.6))
    )
    plain = Artifact(
        id="a@host",
        recipe="a",
        target="host",
        label="",
        status="ready",
        detail="",
        file="a.tflite",
        sha256="new",
        measured=measured,
    )
    (found,) = read_comparisons(root, [plain])
    assert [row.metrics for row in found.rows] == [
        (("box.mAP50-95", 0.5),),
        (("box.mAP50-95", 0.6),),
        (),
    ]
    (found,) = read_comparisons(root, [dataclasses.replace(plain, sha256="newer")])
    assert [row.earlier for row in found.rows] == [True, False, False]
    place.write_text("{")
    assert read_comparisons(root, [plain]) == ()
