"""Many recipes in one run: equal bytes with `-n 2`, five statuses in one table, unknown words."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from buildsys.authoring.scaffold.starters import LOADER_CONFIG
from buildsys.steps.lib.heads.outputs import head_outputs
from tests.given_models import Edge, onnx_bytes, picture, tflite_bytes
from tests.processes import environment, make_environments, set_tool

SMALL = """\
name: {name}
source: {{family: tflite, weights: {{path: models/{name}.tflite}}}}
matrix: {{kind: {{a: null}}}}
targets: [host, {{target: host, as: second}}, {{target: host, as: third}}]
"""


def _workspace(root: Path, recipes: int) -> Path:
    """Recipes for three targets each; finished files go through the real planner and real steps."""
    (root / "recipes").mkdir(parents=True)
    (root / "models").mkdir()
    (root / "doit.cfg").write_text(LOADER_CONFIG)
    for number in range(recipes):
        name = f"r{number:02}"
        (root / "recipes" / f"{name}.yaml").write_text(SMALL.format(name=name))
        (root / "models" / f"{name}.tflite").write_bytes(tflite_bytes(metadata=f"{number:04}"))
    return root


def _run(root: Path, *arguments: str, module: str = "doit") -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", module, *arguments]
    given = environment(root.parent) | {"BUILDSYS_STORE": os.environ["BUILDSYS_STORE"]}
    return subprocess.run(command, cwd=root, env=given, capture_output=True, text=True, check=False)


def _files(root: Path) -> dict[str, str]:
    """The digest of each published file, by path."""
    return {
        path.relative_to(root).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted((root / "build").rglob("*"))
        if path.is_file()
        and "logs" not in path.parts
        and path.name not in ("build.json", "summary.json")
    }


def _statuses(root: Path) -> dict[str, str]:
    rows = json.loads((root / "build" / "summary.json").read_text())["builds"]
    return {row["id"]: row["status"] for row in rows}


@pytest.mark.slow
def test_parallel_builds_ship_the_bytes_of_serial_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`-n 2` publishes the same bytes as a serial run."""
    make_environments(tmp_path)
    set_tool(tmp_path, seconds=0.01)
    for name, arguments in (("serial", ()), ("parallel", ("-n", "2"))):
        monkeypatch.setenv("BUILDSYS_STORE", str(tmp_path / f"store-{name}"))
        done = _run(_workspace(tmp_path / name, 8), *arguments)
        assert done.returncode == 0, done.stderr
    assert _files(tmp_path / "serial") == _files(tmp_path / "parallel")
    assert len(_statuses(tmp_path / "parallel")) == 24


GOOD = tflite_bytes(
    (Edge(name="images", shape=(1, 32, 32, 3)),),
    tuple(
        Edge(name=tensor.name, shape=tensor.shape)
        for tensor in head_outputs("raw", 32, 32, 1, 0, 0, "detect")
    ),
)
"""A detection network of one class with raw outputs, for images of 32 pixels."""
FIVE = {
    "good": "source: {family: tflite, weights: {path: good.tflite}}\ntargets: [host]\n",
    "broken": "source: {family: tflite, weigths: {path: good.tflite}}\ntargets: [host]\n",
    "failing": "source: {family: onnx, weights: {path: bad.onnx}}\ninput: {size: 32}\n"
    "evaluate: none\ntargets: [host]\n",
    "red": "source: {family: tflite, decoder: yolov8-raw, classes: [tag], weights: {path: good.tflite}}\n"
    "input: {size: 32}\ndataset: {path: data/data.yaml}\n"
    "evaluate: {gates: {box.mAP50-95: {min: 0.9}}}\ntargets: [host]\n",
    "waiting": "source: {family: tflite, weights: {path: later.tflite, sha256: %s}}\ntargets: [host]\n"
    % ("0" * 64),
}


@pytest.fixture
def five(tmp_path: Path) -> Path:
    """One recipe for each status; the stand-in for the tools fails at conversions."""
    root = tmp_path / "five"
    for folder in ("recipes", "data/images/train", "data/images/val"):
        (root / folder).mkdir(parents=True)
    (root / "doit.cfg").write_text(LOADER_CONFIG)
    (root / "good.tflite").write_bytes(GOOD)
    (root / "bad.onnx").write_bytes(onnx_bytes((picture(32, 32),)))
    for split in ("train", "val"):
        (root / "data" / "images" / split / "a.jpg").write_bytes(b"picture")
        (root / "data" / "labels" / split).mkdir(parents=True)
        (root / "data" / "labels" / split / "a.txt").write_text("0 0.5 0.5 0.1 0.1\n")
    (root / "data" / "data.yaml").write_text("train: images/train\nval: images/val\nnames: [tag]\n")
    for name, text in FIVE.items():
        (root / "recipes" / f"{name}.yaml").write_text(f"name: {name}\n{text}")
    make_environments(tmp_path)
    set_tool(tmp_path, fail="convert_onnx2tf", seconds=0.01)
    return root


@pytest.mark.slow
def test_five_fates_in_one_run(five: Path) -> None:
    """The table, the summary and the exit code agree with what happened."""
    done = _run(five, "-n", "2")
    statuses = _statuses(five)
    assert {name: status.split(":")[0] for name, status in statuses.items()} == {
        "good@host": "built",
        "broken": "failed at check",
        "failing@host": "failed at convert",
        "red@host": "rejected by gate",
        "waiting@host": "waiting for later.tflite",
    }, done.stdout + done.stderr
    assert done.returncode == 1
    assert all(name in done.stdout for name in statuses)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("builds", "code"),
    [
        (["good@host"], 0),
        (["red@host"], 11),
        (["waiting@host"], 10),
        (["failing@host"], 1),
        (["good@host", "red@host", "waiting@host"], 11),
        (["gdod@host"], 3),
        (["good*"], 0),
    ],
)
def test_exit_codes_of_what_was_asked_for(five: Path, builds: list[str], code: int) -> None:
    """The exit code distinguishes a red gate, a failure and a waiting build."""
    done = _run(five, *(f"build:{build}" for build in builds))
    assert done.returncode == code, done.stdout + done.stderr
    if code == 3:
        assert "did you mean `build:good@host`?" in done.stderr


@pytest.mark.slow
def test_strict_and_annotations(five: Path) -> None:
    """`--strict` fails if a build waits, and annotations name the recipe's line."""
    for name in ("broken", "failing", "red"):
        (five / "recipes" / f"{name}.yaml").unlink()
    assert _run(five, "build", module="buildsys").returncode == 0
    strict = _run(five, "build", "--strict", "--format", "github", module="buildsys")
    assert strict.returncode == 10
    assert "::warning title=waiting@host::waiting for later.tflite" in strict.stdout
    (five / "recipes" / "broken.yaml").write_text(f"name: broken\n{FIVE['broken']}")
    checked = _run(five, "check", "--format", "github", module="buildsys")
    assert "::error file=recipes/broken.yaml,line=2,col=" in checked.stdout
    planned = _run(five, "plan", "--json", "--fail-on", "waiting,stale", module="buildsys")
    assert planned.returncode == 2
    planned = _run(five, "plan", "--fail-on", "waiting", "waiting@host", module="buildsys")
    assert planned.returncode == 1
    assert _run(five, "plan", "--fail-on", "wating", module="buildsys").returncode == 2


@pytest.mark.slow
def test_a_workspace_with_a_mistake_is_never_green(five: Path) -> None:
    """If buildsys.yaml cannot be read, the run fails before its first step, for named builds too."""
    for name in ("broken", "failing", "red", "waiting"):
        (five / "recipes" / f"{name}.yaml").unlink()
    assert _run(five, "build", module="buildsys").returncode == 0
    (five / "buildsys.yaml").write_text("stor: x\n")
    (five / "good.tflite").write_bytes(GOOD + b"\0")
    before = _files(five)
    for command in (("build",), ("build", "good"), ("plan", "good")):
        done = _run(five, *command, module="buildsys")
        message = "buildsys.yaml:1:1: error: unknown key `stor`"
        assert (done.returncode, message in done.stderr) == (2, True)
    assert _files(five) == before
    (five / "buildsys.yaml").write_text("datasets: 3\n")
    codes = {"plan": 2, "plan good": 2, "build good": 1, "update --dry-run good": 1}
    for words, code in codes.items():
        done = _run(five, *words.split(), module="buildsys")
        assert (done.returncode, "buildsys.yaml:1:" in done.stderr) == (code, True)
    (five / "buildsys.yaml").unlink()
    shutil.rmtree(five / "recipes")
    assert _run(five, "build", module="buildsys").returncode == 1


@pytest.mark.slow
def test_a_folder_that_is_not_there_is_not_made(tmp_path: Path) -> None:
    """A missing folder for -C is an error; no folder is created."""
    for command in ("build", "plan", "check"):
        done = _run(tmp_path, "-C", str(tmp_path / "nope"), command, module="buildsys")
        assert (done.returncode, "is not a directory" in done.stderr) == (2, True)
    assert not (tmp_path / "nope").exists()


@pytest.mark.slow
def test_a_broken_recipe_that_is_asked_for_by_name(five: Path) -> None:
    """A recipe with an error is reported with its error, not as an unknown name."""
    done = _run(five, "build:broken@host")
    assert done.returncode == 3
    assert "`build:broken@host` cannot be built: its recipe has a mistake" in done.stderr


@pytest.mark.slow
def test_a_run_that_stops_at_a_failure_starts_nothing_after_it(tmp_path: Path) -> None:
    """With `continue: False` in dodo.py, no step waits in a queue that would still be run."""
    make_environments(tmp_path)
    set_tool(tmp_path, seconds=0.01, fail="examine_tflite")
    root = _workspace(tmp_path / "place", 8)
    (root / "dodo.py").write_text("DOIT_CONFIG = {'continue': False}\n")
    done = _run(root, "-n", "2")
    assert done.returncode != 0
    assert 1 <= done.stderr.count("(examine_tflite) failed") <= 2, done.stderr
