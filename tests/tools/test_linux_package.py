"""The package for ARM Linux boards, run in an environment from its requirements.txt."""

import ast
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from buildsys.cli import main
from buildsys.execution.tools import environments
from buildsys.registry import PACKAGE
from tests.conftest import REPOSITORY
from tests.tools.bright import NETWORK
from tests.tools.places import (
    WARNINGS_ARE_ERRORS,
    doit,
    make_workspace,
    read,
    shared_store,
    tool_environment,
)
from tests.tools.test_look import png

pytestmark = pytest.mark.tools

PROGRAMS = PACKAGE / "templates" / "linux"
CASES = REPOSITORY / "tests" / "tools" / "linux_cases.py"
CHECKS = re.findall(r"^def (check_\w+)", CASES.read_text(), re.MULTILINE)
RECIPE = """\
name: bright
source:
  family: onnx
  task: detect
  weights: {path: bright.onnx}
  decoder: yolov8-raw
  classes: [spot]
input: {size: 96}
evaluate: none
targets:
  - linux-arm64-tflite
  - target: linux-arm64-tflite
    as: integer
    quantization: {scheme: int8, io: int8, calibration: {images: "camera/**/*.png", count: 8}}
  - target: raspberry-pi-5
    quantization: {scheme: int8, io: float32, calibration: {images: "camera/**/*.png", count: 8}}
"""
_KERNEL = "np.full((rows, 3, stride, stride), gain / (3 * stride**2), np.float32)"
_SMALL = "np.zeros((rows, 3, stride, stride), np.float32); kernel[:, :, :8, :8] = gain / 192"
HALF_LIVELY = (
    NETWORK.replace(_KERNEL, _SMALL)
    .replace("(0, -20)", "(3, -16)")
    .replace("(64, 0, bins)", "(64, 3, bins / 2)")
    .replace("np.float32", "np.float16")
    .replace("T.FLOAT,", "T.FLOAT16,")
)
"""Every output depends on the image, so that an integer file passes the signal check. In float16, as
exporters write for GPUs.
"""
BUILDS = ("bright@linux-arm64-tflite", "bright@integer", "bright@raspberry-pi-5")
TURN = """
import sys
from PIL import Image
picture = Image.open(sys.argv[1]).convert("RGB").resize((300, 200), Image.NEAREST)
exif = Image.Exif()
exif[0x0112] = 6  # lies on its side
picture.save(sys.argv[2], exif=exif, quality=95)
"""


@pytest.fixture(scope="module")
def faults() -> dict[str, str]:
    """What went wrong, by check; all of them run in one process of the evaluation environment."""
    _, python = environments.ensure("evaluate", print)
    run = subprocess.run(
        [str(python), *WARNINGS_ARE_ERRORS, "-m", "tests.tools.linux_cases"],
        cwd=REPOSITORY,
        env=tool_environment(python),
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    found: dict[str, str] = json.loads(run.stdout)
    return found


@pytest.mark.parametrize("check", CHECKS)
def test_the_programs_compute_what_the_build_does(check: str, faults: dict[str, str]) -> None:
    """Each in linux_cases.py, with its own sentence."""
    assert not faults[check], faults[check]


def test_the_programs_are_written_for_old_boards() -> None:
    """The package's programs are valid for the boards' older Python."""
    for path in (*PROGRAMS.glob("*.py"), *PROGRAMS.with_name("common").glob("*.py")):
        ast.parse(path.read_text(), feature_version=(3, 9))
        assert len(path.read_text().splitlines()) < 300


def test_the_board_runs_the_version_that_accuracy_was_measured_with() -> None:
    """requirements.txt pins the LiteRT version, whose kernels were tested."""
    named = (PROGRAMS / "requirements.txt").read_text().splitlines()[0]
    lock = (PACKAGE / "envs" / "evaluate" / "lock.txt").read_text()
    assert named.startswith("ai-edge-litert==")
    assert re.search(rf"^{re.escape(named)} \\$", lock, re.MULTILINE)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network for bright spots, built for boards in three ways."""
    root = make_workspace(tmp_path_factory.mktemp("linux") / "place", bright=RECIPE)
    _, tool = environments.ensure("onnx2tf", print)
    command = [str(tool), "-c", HALF_LIVELY, str(root / "bright.onnx")]
    subprocess.run(command, check=True, env=tool_environment(tool))
    (root / "camera").mkdir()

    def draw(name: str, width: int, height: int, left: int, top: int, side: int) -> None:
        def pixel(x: int, y: int) -> int:
            lit = left <= x < left + side and top <= y < top + side
            return 255 if lit else (x * 3 + y * 5) % 64

        (root / "camera" / name).write_bytes(png(width, height, pixel))

    blocks = png(96, 96, lambda x, y: (x // 16 * 73 + y // 16 * 151 + 40) % 256)
    (root / "camera" / "blocks.png").write_bytes(blocks)
    draw("small.png", 96, 96, 24, 16, 8)
    draw("wide.png", 384, 192, 96, 32, 32)
    draw("tall.png", 100, 300, 40, 200, 30)
    draw("dark.png", 96, 96, 0, 0, 0)
    draw("corner.png", 131, 97, 0, 0, 11)
    run = doit(root)
    assert run.returncode == 0, run.stdout + run.stderr
    return root


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment with exactly requirements.txt, installed with the user's pip settings."""
    folder = tmp_path_factory.mktemp("board") / "venv"
    base = getattr(sys, "_base_executable", sys.executable)
    subprocess.run([base, "-m", "venv", str(folder)], check=True)
    found = folder / "bin" / "python"
    words = ("-m", "pip", "install", "-q", "-r", str(PROGRAMS / "requirements.txt"))
    done = subprocess.run([str(found), *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return found


@pytest.fixture
def board(place: Path, tmp_path: Path) -> Path:
    """A copied package with images beside it."""
    shutil.copytree(place / "build" / "bright" / "linux-arm64-tflite", tmp_path / "board")
    shutil.copytree(place / "camera", tmp_path / "camera")
    return tmp_path / "board"


def run(python: Path, folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Run a command in the package's folder, without this checkout."""
    environment = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "VIRTUAL_ENV")}
    return subprocess.run(
        [str(python), *WARNINGS_ARE_ERRORS, *words],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


def objects(found: dict[str, Any]) -> dict[str, list[Any]]:
    """Objects by image name."""
    return {Path(row["picture"]).name: row["objects"] for row in found["pictures"]}


@pytest.mark.parametrize("build", BUILDS)
def test_the_package_alone_sees_what_the_build_predicts(
    build: str, place: Path, python: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """detect.py and `buildsys predict` find the same objects, also with an integer file: both use
    LiteRT's default kernels. Boxes end at the border.
    """
    monkeypatch.setenv("BUILDSYS_STORE", str(shared_store()))
    folder = tmp_path / "board"
    shutil.copytree(place / "build" / "bright" / build.split("@")[1], folder)
    pictures = shutil.copytree(place / "camera", tmp_path / "camera")
    turned = str(pictures / "turned.jpg")
    assert run(python, folder, "-c", TURN, str(pictures / "wide.png"), turned).returncode == 0
    gone = run(python, folder, "-c", "import buildsys")
    assert "ModuleNotFoundError" in gone.stderr
    monkeypatch.chdir(tmp_path)
    assert main(["-C", str(place), "predict", build, str(pictures)]) == 0
    wanted = objects(read(place / "build" / ".predictions" / build / "predictions.json"))
    done = run(python, folder, "detect.py", "--json", *map(str, sorted(pictures.iterdir())))
    assert done.returncode == 0, done.stderr
    found = objects(json.loads(done.stdout))
    assert found.keys() == wanted.keys()
    assert [len(rows) for rows in found.values()] == [len(rows) for rows in wanted.values()]
    assert len(found["turned.jpg"]) >= 1
    for name, rows in wanted.items():
        for ours, theirs in zip(rows, found[name], strict=True):
            assert ours["class"] == theirs["class"]
            assert ours["score"] == pytest.approx(theirs["score"], abs=2e-4)
            assert ours["box"] == pytest.approx(theirs["box"], abs=0.02)
            assert min(theirs["box"]) >= 0


def test_people_read_lines_and_look_at_a_drawing(board: Path, python: Path) -> None:
    """detect.py prints the same as `buildsys predict`, in the photograph's pixels."""
    done = run(python, board, "detect.py", "../camera/wide.png", "--draw", "seen.jpg")
    assert done.stdout == "../camera/wide.png: spot 1.00 at 80,16 64x64\n"
    assert (board / "seen.jpg").read_bytes()[:3] == b"\xff\xd8\xff"
    assert run(python, board, "detect.py", "../camera/dark.png").stdout.endswith(
        "dark.png: nothing\n"
    )


def test_what_is_wrong_is_a_sentence(board: Path, python: Path) -> None:
    """Unreadable images give their own exit code; the others are processed."""
    broken, text = board / "broken.png", board / "text.jpg"
    broken.write_bytes((board.parent / "camera" / "small.png").read_bytes()[:-40])
    text.write_text("no picture")
    words = ("broken.png", "text.jpg", "gone.jpg", "../camera", "../camera/small.png")
    done = run(python, board, "detect.py", *words)
    assert done.returncode == 2
    assert done.stdout == "../camera/small.png: spot 1.00 at 20,12 16x16\n"
    told = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert re.fullmatch(r"error: broken\.png: cannot be read: .+", told[0])
    assert told[1] == "error: text.jpg: not an image, or in a format that Pillow cannot read"
    assert told[2] == "error: gone.jpg: file not found"
    assert told[3] == "error: ../camera: this is a folder; name the images in it"
    assert "Traceback" not in done.stderr
    assert run(python, board, "detect.py", "x.png", "--confidence", "7").returncode == 2
    assert run(python, board, "detect.py", "x.png", "y.png", "--draw", "z.png").returncode == 2
    place = "no/such/folder/z.png"
    assert run(python, board, "detect.py", "../camera/small.png", "--draw", place).returncode == 2


def test_a_reader_that_has_enough_ends_it_without_a_word(board: Path, python: Path) -> None:
    """A closed pipe, as with `detect.py … | head -1`, gives no traceback."""
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        [str(python), "detect.py", "../camera/wide.png"],
        cwd=board,
        stdout=writer,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    os.close(writer)
    assert done.returncode == -signal.SIGPIPE
    assert "Traceback" not in done.stderr
    assert "Broken" not in done.stderr


LENGTHS = 64
"""The values of a raw head's box: four sides with 16 bins."""


@pytest.mark.parametrize("build", BUILDS)
def test_a_decoder_of_ones_own_finds_all_it_needs(build: str, place: Path, python: Path) -> None:
    """model.json has LiteRT's shapes, types and scales with meanings; the README has the formula."""
    folder = place / "build" / "bright" / build.split("@")[1]
    facts = read(folder / "model.json")
    (image,) = facts["inputs"]
    integer = build == "bright@integer"
    assert (image["shape"], image["dtype"]) == ([1, 96, 96, 3], "int8" if integer else "float32")
    assert image["zero_point"] == (-128 if integer else None)
    assert image["scale"] == (pytest.approx(1 / 255, rel=1e-3) if integer else None)
    assert "NHWC" in image["meaning"]
    shapes = {row["name"]: row["shape"] for row in facts["outputs"]}
    assert shapes == {
        "box_s8": [1, 144, LENGTHS],
        "box_s16": [1, 36, LENGTHS],
        "box_s32": [1, 9, LENGTHS],
        "cls_s8": [1, 144, 1],
        "cls_s16": [1, 36, 1],
        "cls_s32": [1, 9, 1],
    }
    assert all(row["meaning"] for row in facts["outputs"])
    done = run(python, folder, "-B", "-c", _DETAILS)
    keys = ("shape", "dtype", "scale", "zero_point")
    ours = [[row[key] for key in keys] for row in (image, *facts["outputs"])]
    assert ours == json.loads(done.stdout)
    text = (folder / "README.md").read_text()
    assert "`vision.py` is the reference" in text
    assert "score   = sigmoid(logit)" in text
    assert "| `box_s8` | 1 x 144 x 64 |" in text


_DETAILS = """
import json, network, numpy
model = network.Model(1)
rows = []
for detail in (model.input, *model.interpreter.get_output_details()):
    scale, zero = detail["quantization"]
    quantized = (scale, zero) if scale else (None, None)
    rows.append([detail["shape"].tolist(), numpy.dtype(detail["dtype"]).name, *quantized])
print(json.dumps(rows))
"""


def test_a_package_that_is_not_whole_says_so(board: Path, python: Path) -> None:
    """A truncated, exchanged or missing file is reported."""
    model = board / "bright.tflite"
    model.write_bytes(model.read_bytes()[:1000])
    done = run(python, board, "detect.py", "../camera/small.png")
    assert (done.returncode, done.stdout) == (3, "")
    assert "bright.tflite is not the file of this package" in done.stderr
    model.unlink()
    assert "bright.tflite is missing" in run(python, board, "benchmark.py").stderr
    (board / "model.json").write_text("{")
    assert "model.json is damaged" in run(python, board, "detect.py", "x.png").stderr
    (board / "model.json").unlink()
    done = run(python, board, "detect.py", "x.png")
    assert (done.returncode, done.stderr) == (
        3,
        "error: model.json is missing: copy the whole package\n",
    )


def test_without_its_packages_it_says_which_is_missing(board: Path) -> None:
    """A missing library is reported with how to install it."""
    bare = Path(getattr(sys, "_base_executable", sys.executable))
    done = run(bare, board, "-I", "-S", "-c", _ISOLATED.format(folder=str(board)))
    assert done.returncode == 4, done.stderr
    assert "the Python package ai_edge_litert is missing" in done.stderr


_ISOLATED = """
import runpy, sys
sys.path.insert(0, {folder!r})
sys.argv = ["detect.py", "x.png"]
runpy.run_path({folder!r} + "/detect.py", run_name="__main__")
"""


def test_a_task_that_it_does_not_decode_is_reported(board: Path, python: Path) -> None:
    """detect.py refuses other kinds of networks; benchmark.py times them."""
    facts = read(board / "model.json")
    (board / "model.json").write_text(json.dumps({**facts, "task": "segment"}))
    done = run(python, board, "detect.py", "../camera/small.png")
    assert done.returncode == 3
    assert "this network is for segment; detect.py decodes detect" in done.stderr
    assert run(python, board, "benchmark.py", "--runs", "2", "--warmup", "1").returncode == 0


def test_its_figures_come_back_into_the_workspace(
    place: Path,
    board: Path,
    python: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """benchmark.py's result is imported for the file that ran, and refused for others."""
    words = ("--runs", "7", "--warmup", "2", "--threads", "2", "--json", "board.json")
    done = run(python, board, "benchmark.py", "../camera/wide.png", *words)
    assert done.returncode == 0, done.stderr
    assert re.search(
        r"^engine only: mean \d+\.\d\d, min .*, p90 .*, max ", done.stdout, re.MULTILINE
    )
    assert "image file to detections: mean" in done.stdout
    monkeypatch.setenv("BUILDSYS_STORE", str(shared_store()))
    monkeypatch.chdir(place)
    figures, written = str(board / "board.json"), read(board / "board.json")
    given = ("import-benchmark", BUILDS[0], figures, "--device", "a test's machine")
    assert main([*given]) == 0
    (row,) = read(place / "measurements" / f"{BUILDS[0]}.json")["measurements"]
    assert row["sha256"] == read(board / "model.json")["sha256"]
    for name in ("version", "threads", "runs", "warmup", "mean_ms", "p90_ms", "p99_ms", "max_ms"):
        assert row[name] == written[name]
    assert (row["engine"], row["source"], row["what"]) == ("litert", "benchmark.py", "engine only")
    capsys.readouterr()
    assert main(["import-benchmark", BUILDS[1], figures, "--device", "a board"]) == 2
    assert f"that {BUILDS[1]} does not ship" in capsys.readouterr().err
    shutil.rmtree(place / "measurements")
