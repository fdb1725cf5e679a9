"""`buildsys compare` times builds of several recipes together and adds a table to the report."""

import dataclasses
import hashlib
import json
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from buildsys.cli import main
from buildsys.commands.compare import render
from buildsys.digest import digest_file
from buildsys.errors import StepFailed
from buildsys.execution.places import Workspace
from buildsys.execution.running.process import Command, OnProgress
from buildsys.execution.session.session import Session
from buildsys.operations.compare import Group, Rounds, compare, find_group
from buildsys.report.comparisons import comparison_file, read_comparison, read_comparisons
from buildsys.steps import compare_latency
from buildsys.steps.lib.report.values import Artifact, Measured
from tests.conftest import StandIn, no_environment
from tests.given_models import onnx_bytes, picture, tflite_bytes
from tests.report.test_report import read, text

ONE, TWO = "one@host", "two@host"
RECIPE = """\
name: {name}
source: {{family: onnx, weights: {{path: {name}.onnx}}}}
input: {{size: 64}}
quantization: {{scheme: float32}}
evaluate: none
targets: [host]
"""
VARIANTS = "matrix: {quantization.scheme: [float32, float16]}\nselect: {minimize: bytes}\n"
NEITHER = "which LiteRT and onnxruntime cannot run"
SHORT = Rounds(threads=1, runs=10, warmup=3)
AS_SHORT = ("--runs", "10", "--warmup", "3")


class Timer(StandIn):
    """Each file takes a millisecond longer than the one before; packages hold the file itself."""

    def __call__(self, command: Command, on_progress: OnProgress) -> int:
        module, request_path = command.arguments[-2:]
        request = json.loads(Path(request_path).read_text())
        if module != "compare_latency" or module in self.fail:
            code = super().__call__(command, on_progress)
            if "package" in request["outputs"] and "tflite" in request["inputs"]:
                model = Path(request["outputs"]["package"]) / "model.tflite"
                shutil.copyfile(request["inputs"]["tflite"], model)
            return code
        self.ran.append(module)
        params = request["params"]
        rows = [
            {
                **subject,
                "engine": "stand-in",
                "bytes": path.stat().st_size,
                "operators": 9,
                "transposes": index,
                "batch": 1,
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
    """The stand-in tools."""
    return Timer()


@pytest.fixture
def pair(tmp_path: Path, timer: Timer) -> Path:
    """A workspace with two recipes for the host, both built."""
    root = tmp_path / "workspace"
    write(root, "one")
    write(root, "two")
    build(root, timer)
    return root


def write(root: Path, name: str, more: str = "") -> None:
    """Write a recipe that converts its own ONNX file."""
    (root / "recipes").mkdir(parents=True, exist_ok=True)
    (root / f"{name}.onnx").write_bytes(onnx_bytes((picture(64, 64),), metadata={"name": name}))
    (root / "recipes" / f"{name}.yaml").write_text(RECIPE.format(name=name) + more)


def edit(root: Path, old: str, new: str) -> None:
    """Change recipe `one`."""
    recipe = root / "recipes" / "one.yaml"
    text = recipe.read_text()
    assert old in text
    recipe.write_text(text.replace(old, new))


def build(root: Path, tools: StandIn) -> None:
    """Build everything."""
    session = Session(root, tools, no_environment)
    session.build(list(session.plans))
    session.close()


def run(root: Path, tools: StandIn, *builds: str, rounds: Rounds = SHORT) -> tuple[Path, list[str]]:
    """Compare builds; return the record's path and the modules that ran."""
    tools.ran.clear()
    session = Session(root, tools, no_environment)
    try:
        group = find_group(session, builds or (ONE, TWO))
        path = compare(session, group.plans, rounds)
    finally:
        session.close()
    return path, list(tools.ran)


def group_of(root: Path, *builds: str) -> Group:
    """The group that would be compared."""
    session = Session(root, StandIn(), no_environment)
    try:
        return find_group(session, builds)
    finally:
        session.close()


def command(root: Path, *arguments: str) -> int:
    """Run `buildsys compare` and return its exit code."""
    return main(["-C", str(root), "compare", *arguments])


def test_files_are_timed_together_once(pair: Path, timer: Timer) -> None:
    """One process times the published files and their ONNX files; the next comparison measures
    nothing.
    """
    path, ran = run(pair, timer)
    assert ran == ["compare_latency"], "nothing is built"
    data = json.loads(path.read_text())
    told = [(row["builds"], row["format"], row["scheme"], row["converter"]) for row in data["rows"]]
    assert told == [
        ([ONE], "onnx", "", ""),
        ([ONE], "tflite", "float32", "onnx2tf"),
        ([TWO], "onnx", "", ""),
        ([TWO], "tflite", "float32", "onnx2tf"),
    ]
    assert data["runs"] == 10
    manifest = (pair / "build/one/host/manifest.json").read_text()
    assert "compare_latency" not in manifest, "a figure of one machine is no proof on all"
    assert run(pair, timer) == (path, [])


def test_a_set_of_builds_has_one_record(pair: Path, timer: Timer) -> None:
    """A set of builds has one record regardless of order and rounds; measured rounds are kept."""
    path, _ = run(pair, timer)
    assert run(pair, timer, TWO, "one*") == (path, [])
    longer = dataclasses.replace(SHORT, runs=20)
    assert run(pair, timer, rounds=longer) == (path, ["compare_latency"])
    assert json.loads(path.read_text())["runs"] == 20
    assert run(pair, timer) == (path, [])
    assert json.loads(path.read_text())["runs"] == 10
    assert [place.name for place in path.parent.iterdir()] == [path.name]


def test_another_file_is_measured(pair: Path, timer: Timer) -> None:
    """A changed file is measured again."""
    before = json.loads(run(pair, timer)[0].read_text())["rows"]
    edit(pair, "float32", "float16")
    build(pair, timer)
    path, ran = run(pair, timer)
    assert ran == ["compare_latency"]
    after = json.loads(path.read_text())["rows"]
    changed = [b["sha256"] != a["sha256"] for b, a in zip(before, after, strict=True)]
    assert changed == [False, True, False, False]


@pytest.mark.parametrize(
    ("change", "reason", "code"),
    [
        (("one.onnx", "absent.onnx"), "it waits for absent.onnx", 10),
        (("float32", "float16"), f"it is not built: `doit build:{ONE}`", 1),
        (("[host]", "[tensorflow-saved-model]"), f"it ships saved-model, {NEITHER}", 2),
    ],
)
def test_a_build_without_a_file_is_left_out_with_its_reason(
    pair: Path, timer: Timer, change: tuple[str, str], reason: str, code: int
) -> None:
    """The other builds are compared, and the exit code shows that one was left out."""
    write(pair, "third")
    build(pair, timer)
    edit(pair, *change)
    group = group_of(pair, "*")
    assert [plan.build for plan in group.plans] == ["third@host", TWO]
    assert [item.reason for item in group.left_out] == [reason]
    assert group.exit_code == code


def test_the_command_prints_the_table_and_refreshes_the_report(
    pair: Path, timer: Timer, capsys: pytest.CaptureFixture[str]
) -> None:
    """The table has size, mean, ratio and accuracy of each file; builds that are left out are
    named.
    """
    path, _ = run(pair, timer)
    edit(pair, "[host]", "[host, tensorflow-saved-model]")
    capsys.readouterr()
    assert command(pair, *AS_SHORT, "*") == 2
    printed = capsys.readouterr()
    left_out = "one@tensorflow-saved-model is left out: it ships saved-model"
    assert f"{left_out}, {NEITHER}" in printed.err
    lines = printed.out.splitlines()
    assert lines[0].split() == [
        "build",
        "file",
        "bytes",
        "batch",
        "mean",
        "ms",
        "ratio",
        "accuracy",
    ]
    assert lines[1].split()[:2] == [ONE, "onnx"]
    assert lines[1].split()[3:] == ["1", "5.00", "1.00", "not", "measured"]
    assert lines[4].split()[:5] == [TWO, "tflite", "float32", "onnx2tf", "64"]
    assert "1 thread: 10 runs after 3 to warm up" in lines[5]
    assert lines[6:] == ["report: build/report/report.md"]
    assert "## Comparison" in text(pair)
    assert command(pair, *AS_SHORT, "--json", ONE, TWO) == 0
    assert capsys.readouterr().out == path.read_text()


def test_the_report_marks_earlier_files(pair: Path, timer: Timer) -> None:
    """The report marks files that changed since; if all did, it omits the comparison."""
    run(pair, timer)
    assert command(pair, *AS_SHORT, ONE, TWO) == 0
    assert not any(row.earlier for row in read(pair).comparisons[0].rows)
    edit(pair, "float32", "float16")
    build(pair, timer)
    assert main(["-C", str(pair), "report"]) == 0
    (found,) = read(pair).comparisons
    assert {row.builds[0]: row.earlier for row in found.rows} == {TWO: False, ONE: True}
    assert "of an earlier file" in text(pair)
    (pair / "recipes" / "two.yaml").unlink()
    assert main(["-C", str(pair), "report"]) == 0
    assert read(pair).comparisons == ()


def test_wrong_arguments_are_refused(
    pair: Path, timer: Timer, capsys: pytest.CaptureFixture[str]
) -> None:
    """An unknown name, a single build, an ambiguous variant and counts out of range are refused."""
    assert command(pair, TWO, "one@hast") == 2
    assert "one@hast: error: matches no build" in capsys.readouterr().err
    assert command(pair, "two@*") == 2
    assert "names 1 build: a comparison takes two or more" in capsys.readouterr().err
    write(pair, "one", VARIANTS)
    assert command(pair, ONE, TWO) == 2
    printed = capsys.readouterr().err
    assert f"{ONE}: error: selects between variants and has no file itself" in printed
    assert "name a variant, for example one-float32@host" in printed
    assert command(pair, "one", TWO) == 2
    assert f"{ONE}: error: selects between variants" in capsys.readouterr().err
    assert command(pair, "one-*") == 1
    printed = capsys.readouterr().err
    assert "one-float16@host is left out: it is not built" in printed
    assert "nothing was timed" in printed
    with pytest.raises(SystemExit, match="2"):
        command(pair, "--runs", "0", ONE, TWO)
    assert "0 is not a whole number from 1 to 10000" in capsys.readouterr().err


def test_at_most_64_files_are_timed_together(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """More than 64 files are refused, since one process holds them all."""
    place = tmp_path / "workspace"
    (place / "recipes").mkdir(parents=True)
    for index in range(65):
        name = f"given-{index}"
        (place / f"{name}.tflite").write_bytes(tflite_bytes(metadata=str(index)))
        recipe = f"source: {{family: tflite, weights: {{path: {name}.tflite}}}}\ntargets: [host]\n"
        (place / "recipes" / f"{name}.yaml").write_text(f"name: {name}\n{recipe}")
    assert command(place, "given-*") == 2
    assert "65 files of 65 builds; at most 64 are timed together" in capsys.readouterr().err


def test_a_comparison_that_fails_writes_nothing(pair: Path, timer: Timer) -> None:
    """A failed comparison writes nothing; the next one measures."""
    timer.fail = {"compare_latency"}
    with pytest.raises(StepFailed):
        run(pair, timer)
    assert not (pair / "build" / ".comparisons").exists()
    timer.fail = set()
    assert run(pair, timer)[1] == ["compare_latency"]


def test_a_deleted_record_comes_back_without_measuring(pair: Path, timer: Timer) -> None:
    """A deleted record is restored from the store; if that is empty, its files are made again."""
    path, _ = run(pair, timer)
    before = path.read_bytes()
    path.unlink()
    assert run(pair, timer) == (path, [])
    assert path.read_bytes() == before


def test_a_record_stays_when_the_store_is_cleared(pair: Path, timer: Timer, tmp_path: Path) -> None:
    """A record stays as it is if the store was cleared."""
    path, _ = run(pair, timer)
    before = path.read_bytes()
    shutil.rmtree(tmp_path / "store")
    assert run(pair, timer) == (path, [])
    assert path.read_bytes() == before
    path.unlink()
    assert "compare_latency" in run(pair, timer)[1]
    assert path.is_file()


def test_variants_share_the_file_that_they_were_made_from(tmp_path: Path, timer: Timer) -> None:
    """A file that two variants share is timed once; a pattern needs no choice between them."""
    place = tmp_path / "workspace"
    write(place, "one", VARIANTS)
    build(place, timer)
    rows = json.loads(run(place, timer, "one*")[0].read_text())["rows"]
    assert [row["format"] for row in rows] == ["tflite", "onnx", "tflite"]
    shared = next(row for row in rows if row["format"] == "onnx")
    assert shared["builds"] == ["one-float16@host", "one-float32@host"]


def test_the_onnx_file_is_the_one_that_was_converted(tmp_path: Path, timer: Timer) -> None:
    """Of a file with other pixels, the adapted ONNX file is timed, not the given one."""
    place = tmp_path / "workspace"
    write(place, "one")
    write(place, "two")
    edit(place, "one.onnx}}", "one.onnx}, pixels: {color: bgr}}")
    build(place, timer)
    rows = json.loads(run(place, timer)[0].read_text())["rows"]
    digests = {row["builds"][0]: row["sha256"] for row in rows if row["format"] == "onnx"}
    assert digests[TWO] == digest_file(place / "two.onnx")
    assert digests[ONE] != digest_file(place / "one.onnx")


def test_a_quantized_onnx_file_is_timed(tmp_path: Path, timer: Timer) -> None:
    """onnxruntime runs every ONNX file; the float32 file is shared, and no row is an earlier file."""
    place = tmp_path / "workspace"
    write(place, "one", "matrix: {quantization.scheme: [float16, float32]}\n")
    edit(place, "targets: [host]", "targets: [triton-onnx]")
    build(place, timer)
    names = ("one-float16@triton-onnx", "one-float32@triton-onnx")
    assert group_of(place, "one*").left_out == ()
    path, _ = run(place, timer, *names)
    rows = json.loads(path.read_text())["rows"]
    found = {tuple(row["builds"]): (row["format"], row["scheme"], row["sha256"]) for row in rows}
    assert found[names] == ("onnx", "", digest_file(place / "one.onnx"))
    assert found[names[:1]][:2] == ("onnx", "float16")
    shipped = dict(zip(names, (found[names[:1]][2], found[names][2]), strict=True))
    now = {name: dataclasses.replace(_SHIPPED, id=name, sha256=shipped[name]) for name in names}
    assert _earlier(path, now) == {names: False, names[:1]: False}
    now[names[0]] = dataclasses.replace(now[names[0]], sha256="another")
    assert _earlier(path, now) == {names: False, names[:1]: True}


_SHIPPED = Artifact(
    id="", recipe="one", target="triton-onnx", label="", status="ready", detail="", file="1/m.onnx"
)


def _earlier(path: Path, artifacts: dict[str, Artifact]) -> dict[tuple[str, ...], bool]:
    """Which rows of a comparison are of an earlier file."""
    found = read_comparison(path, artifacts.values())
    assert found is not None
    return {row.builds: row.earlier for row in found.rows}


def test_turns_are_taken_in_rounds() -> None:
    """Files are timed in alternating rounds, so that a warming machine does not favour one."""
    calls: list[str] = []
    inferences: list[Callable[[], object]] = [partial(calls.append, name) for name in "abc"]
    times = compare_latency.take_turns(inferences, runs=2, warmup=1)
    assert "".join(calls) == "abcabcabc"
    assert [len(own) for own in times] == [2, 2, 2]


def test_times_are_compared_per_image(tmp_path: Path) -> None:
    """A file that runs eight images at once in 40 ms is faster than one that runs one in 6 ms."""
    assert compare_latency.ratios([(40.0, 8), (6.0, 1), (7.0, 1)]) == [1.0, 1.2, 1.4]
    place = tmp_path / "record.json"
    row = {
        "builds": ["a@host"],
        **dict.fromkeys(("format", "scheme", "converter", "engine", "sha256"), ""),
        **dict.fromkeys(("bytes", "operators", "transposes", "min_ms", "p50_ms"), 1),
    }
    times = (
        {"batch": 1, "mean_ms": 6.0, "ratio": 1.2},
        {"batch": 8, "mean_ms": 40.0, "ratio": 1.0},
    )
    data = {"label": "measured here", "device": "a CPU", "threads": 1, "runs": 3, "warmup": 1}
    place.write_text(json.dumps({**data, "rows": [row | figures for figures in times]}))
    found = read_comparison(place, ())
    assert found is not None
    assert [(row.batch, row.mean_ms) for row in found.rows] == [(8, 40.0), (1, 6.0)]
    lines = [line.split() for line in render(found).splitlines()]
    assert [line[2:5] for line in lines[1:3]] == [["8", "40.0", "1.00"], ["1", "6.00", "1.20"]]


def test_accuracy_is_that_of_the_same_file(tmp_path: Path) -> None:
    """The accuracy in the table belongs to the timed file."""
    root = Workspace(tmp_path)
    place = comparison_file(root, ["a@host", "gone@host"])
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
        "batch": 1,
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
    assert [row.earlier for row in found.rows] == [False, False, True]
    other = dataclasses.replace(plain, id="b@host", sha256="other")
    place.write_text(
        json.dumps({**data, "rows": [*rows, {**row, "builds": ["b@host"], "sha256": "other"}]})
    )
    (found,) = read_comparisons(root, [dataclasses.replace(plain, sha256="newer"), other])
    assert [row.earlier for row in found.rows] == [True, True, True, False]
    replaced = [
        dataclasses.replace(plain, sha256="newer"),
        dataclasses.replace(other, sha256="newest"),
    ]
    assert read_comparisons(root, replaced) == (), "no file of it ships any more"
    place.write_text("{")
    assert read_comparisons(root, [plain]) == ()
