"""The report as users see it: rendered in its environment, opened in a browser."""

import dataclasses
import hashlib
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from buildsys.escaping import terminal
from buildsys.execution.running.runner import LAUNCHER
from buildsys.execution.tools import environments
from buildsys.report.writing import TEMPLATES
from buildsys.steps.lib.report import values
from buildsys.steps.lib.report.values import Report
from tests.conftest import REPOSITORY
from tests.report.engine_sample import WAITING, engines_report
from tests.report.report_sample import DRAWINGS, VIEWS, sample
from tests.report.training_sample import TRAINING, write_files
from tests.tools.places import tool_environment

pytestmark = pytest.mark.tools
NASTY = '<img src=x onerror="document.title=1"> & "quotes" \x1b[2J \u202etxt'
PHONE = 390
FRAME = """\
<body style="margin:0">
<iframe id="page" sandbox="allow-same-origin" src="{page}" width="{width}" height="1600"
 style="border:0"></iframe>
<p id="result"></p><script>
document.getElementById("page").onload = (event) => {{
  const page = event.target.contentDocument, root = page.documentElement;
  const tall = root.scrollHeight;
  page.querySelectorAll("details").forEach((e) => {{ e.open = true; }});
  const seen = [...page.querySelectorAll("tbody tr, li, h1")].filter((e) => e.offsetHeight > 0);
  document.getElementById("result").textContent =
    JSON.stringify([root.scrollWidth, root.clientWidth, seen.length, tall]);
}};
</script></body>
"""
"""A window of any width in which no script runs: a browser without a person asks with scripts. How
tall it is as it opens, how wide with everything unfolded.
"""
TRAINING_PAGE = f"trainings/tags-{TRAINING[:8]}.html"


def run_step(module: str, environment: str, request: dict[str, Any], work: Path) -> None:
    """Run a step by its launcher in its synced environment."""
    work.mkdir(parents=True, exist_ok=True)
    path = work / "request.json"
    path.write_text(json.dumps({**request, "error": str(work / "error.txt")}))
    _, python = environments.ensure(environment, print)
    done = subprocess.run(
        [str(python), "-s", str(LAUNCHER), module, str(path)],
        cwd=work,
        capture_output=True,
        text=True,
        check=False,
        env=tool_environment(python, work),
    )
    assert done.returncode == 0, done.stderr


def render(report: Report, work: Path, epochs: int = 12) -> Path:
    """Render a report; return its folder. `epochs`: of its training."""
    pictures = work / "data" / "files" / DRAWINGS
    pictures.mkdir(parents=True)
    write_files(work / "data" / "files", epochs)
    for name in (f"{number}-{form}.jpg" for number in (1, 2) for form in VIEWS):
        (pictures / name).write_bytes(b"\xff\xd8\xff\xd9")
    values.save(work / "data" / "report.json", report)
    request = {
        "inputs": {"data": str(work / "data"), "templates": str(TEMPLATES)},
        "outputs": {"report": str(work / "report")},
        "params": {},
    }
    run_step("render_report", "report", request, work / "step")
    return work / "report"


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A report with one of everything and hostile names."""
    report = sample()
    artifacts = list(report.artifacts)
    index = next(i for i, item in enumerate(artifacts) if item.sights)
    artifacts[index] = dataclasses.replace(
        artifacts[index], label=NASTY, unverified=(NASTY,), load=((NASTY, NASTY),)
    )
    nasty = dataclasses.replace(report, artifacts=tuple(artifacts), mistakes=(NASTY,))
    return render(nasty, tmp_path_factory.mktemp("report"))


@pytest.fixture(scope="module")
def chromium() -> str:
    """A browser for the report."""
    found = shutil.which("chromium") or shutil.which("chromium-browser")
    if found is None:
        pytest.skip("no chromium on this machine: the report was not looked at")
    return found


def browse(chromium: str, profile: Path, *arguments: str) -> str:
    """Run the browser headless without network; return its output."""
    flags = (
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-quic",
        "--no-first-run",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
        "--allow-file-access-from-files",
        "--virtual-time-budget=5000",
        f"--user-data-dir={profile}",
    )
    done = subprocess.run(
        [chromium, *flags, *arguments], capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_no_character_hides_or_reorders_others(pages: Path) -> None:
    """Users' texts are shown unchanged, in pages and in report.md."""
    texts = [path.read_text() for path in pages.rglob("*.html")]
    assert all(terminal(text) == text for text in (*texts, (pages / "report.md").read_text()))
    assert any("\\x1b[2J \\u202etxt" in text for text in texts)
    assert not any("<img src=x" in text for text in texts)


def test_every_build_is_a_row_and_has_a_page(chromium: str, pages: Path, tmp_path: Path) -> None:
    """A recipe with an error has a row and no page; users' texts stay text."""
    found = browse(chromium, tmp_path, "--dump-dom", f"file://{pages}/index.html")
    for item in sample().artifacts:
        assert f'id="{item.id}"' in found
        assert (pages / item.page).is_file() == item.has_page
        assert (f'href="{item.page}"' in found) == item.has_page
    assert found.count('<li class="bad">') == 4  # three causes, one regression
    page = f"file://{pages}/tags/grove-vision-ai-v2.html"
    grove = browse(chromium, tmp_path, "--dump-dom", page)
    assert not re.search(r"<script|https?://", found + grove), "one set of files, offline"
    assert "<img src=x" not in found + grove
    assert "&lt;img src=x" in grove
    assert 'src="grove-vision-ai-v2/1-checkpoint.jpg"' in grove
    assert (pages / "tags" / "grove-vision-ai-v2" / "2-tflite.jpg").is_file()
    assert '<th scope="row">plate</th><td class="n">0.4121</td>' in grove
    assert ">PyTorch</th>" in grove


def test_labels_of_latency_have_columns_of_their_own(pages: Path) -> None:
    """Estimates, measurements and imported figures are in separate columns."""
    index = (pages / "index.html").read_text()
    assert "Latency, estimated</th>" in index
    assert "Latency, measured here</th>" in index
    assert "Latency, measured on a device</th>" not in index  # it is of an earlier file
    page = (pages / "tags" / "grove-vision-ai-v2.html").read_text()
    assert page.count("<h3>Estimated</h3>") == page.count("<h3>Measured on a device</h3>") == 1
    assert "an earlier file" in page


def look(chromium: str, page: Path, width: int, folder: Path) -> list[int]:
    """A page's width unfolded, the window's width, the visible rows, and the height folded."""
    place = frame(page, width, folder)
    found = browse(chromium, folder / "profile", "--dump-dom", f"file://{place}")
    numbers: list[int] = json.loads(found.partition('id="result">')[2].partition("<")[0])
    return numbers


def frame(page: Path, width: int, folder: Path) -> Path:
    """Write a page that embeds another one and prints its measures."""
    path = folder / "frame.html"
    path.write_text(FRAME.format(page=f"file://{page}", width=width))
    return path


@pytest.fixture(scope="module")
def engines(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A report of a workspace with engines."""
    return render(engines_report(), tmp_path_factory.mktemp("engines"))


@pytest.mark.parametrize("width", [1280, PHONE])
def test_the_table_of_engines_fits(
    chromium: str, engines: Path, tmp_path: Path, width: int
) -> None:
    """The table has eight columns on a desktop and cards on a phone; nothing is cut off."""
    across, inner, seen, _ = look(chromium, engines / "engines.html", width, tmp_path)
    assert across <= inner <= width
    assert seen > 30


def test_the_table_of_engines_is_found_and_tells_what_waits(engines: Path, pages: Path) -> None:
    """The index links to engines only if there are any; TensorRT-RTX has its own name."""
    assert 'href="engines.html"' in (engines / "index.html").read_text()
    text = (engines / "engines.html").read_text()
    assert WAITING in text
    assert "Published: NVIDIA A100" in text
    aot = text.partition("<h2>NVIDIA RTX GPUs")[2].partition("</section>")[0]
    assert "TensorRT" not in aot.replace("TensorRT-RTX", "")
    assert not (pages / "engines.html").exists()
    assert "engines.html" not in (pages / "index.html").read_text()


@pytest.mark.parametrize(
    "page",
    [
        "index.html",
        "tags/grove-vision-ai-v2.html",
        "tags/host.html",
        "cells/host.html",
        TRAINING_PAGE,
    ],
)
def test_nothing_is_cut_off_on_a_phone(
    chromium: str, pages: Path, tmp_path: Path, page: str
) -> None:
    """No table is wider than the screen, and rows are visible without scripts."""
    width, inner, seen, _ = look(chromium, pages / page, PHONE, tmp_path)
    assert width <= inner <= PHONE
    source = (pages / page).read_text()
    tables = source.count("<thead")  # whose header is hidden on a phone
    assert seen == len(re.findall(r"<(?:tr|li)[ >]", source)) - tables + 1


def test_many_builds_that_are_not_built_are_no_ladder(chromium: str, tmp_path: Path) -> None:
    """Ninety waiting builds of twelve recipes are one line that can be unfolded."""
    report = sample()
    idle = [
        dataclasses.replace(
            next(item for item in report.artifacts if item.id == "old@host"),
            id=f"sweep{n % 12}@board-{n}",
            recipe=f"sweep{n % 12}",
            target=f"board-{n}",
            status="not built",
            detail="not built",
        )
        for n in range(90)
    ]
    known = [
        dataclasses.replace(item, status="stale", reasons=()) if item.id == "tags@host" else item
        for item in report.artifacts
    ]
    many = dataclasses.replace(report, artifacts=(*known, *idle), comparisons=(), mistakes=())
    folder = render(many, tmp_path / "many")
    text = (folder / "index.html").read_text()
    assert "16 recipes without figures, 95 builds</summary>" in text
    assert 'href="sweep3/board-3.html"' in text
    tall = look(chromium, folder / "index.html", PHONE, tmp_path)[3]
    assert tall < 4000
    plot = (folder / "plots" / "size-box.mAP50-95.svg").read_text()
    assert ">host<" in plot
    assert ">rejected<" not in plot, "what is stale was not rejected"


def test_a_failed_build_shows_its_error_and_its_log(pages: Path) -> None:
    """A failure is shown on the build's page, and once on the index for both builds."""
    page = (pages / "cells" / "host.html").read_text()
    assert "<h2>Failed at convert</h2>" in page
    assert "no TFLite operator does Einsum" in page
    assert "ERROR: no TFLite operator does Einsum" in page
    assert "/workspace/.buildsys/logs/0a1b.log" in page
    assert (pages / "index.html").read_text().count("no TFLite operator does Einsum") == 1


def test_accuracy_tells_on_how_many_images(pages: Path) -> None:
    """Each accuracy states its number of images, its kernels, and the sigmas of keypoints."""
    index = (pages / "index.html").read_text()
    assert index.count('<div class="metrics">') == index.count("300 images of val, 541 objects")
    assert "box.mAP50-95 against size, on 300 images" in index
    page = (pages / "tags" / "grove-vision-ai-v2.html").read_text()
    assert "300 images of val, 541 objects." in page
    assert "kernels: reference, as TFLite Micro" in page
    assert "keypoint sigmas 0.25 each (Ultralytics" in page


def test_a_class_without_objects_has_no_accuracy(pages: Path) -> None:
    """The table per class says "no objects" for a class that the measured split does not have."""
    page = (pages / "tags" / "grove-vision-ai-v2.html").read_text()
    assert '<th scope="row">bolt</th><td class="n" colspan="2">no objects</td>' in page


def test_a_training_has_a_page(pages: Path) -> None:
    """A training's page has curves, the best epoch, the time, detections and images."""
    page = (pages / TRAINING_PAGE).read_text()
    for words in ("12<", "of 20", "ended by patience: no better epoch in 4", "1 min 34 s"):
        assert words in page
    for name in ("loss-pose", "accuracy-boxes", "accuracy-keypoints", "recall-keypoints"):
        source = (pages / TRAINING_PAGE.removesuffix(".html") / f"{name}.svg").read_text()
        assert f"/{name}.svg" in page
        assert 'id="legend_1"' in source
    losses = (pages / TRAINING_PAGE.removesuffix(".html") / "loss-pose.svg").read_text()
    assert all(f">{words}<" in losses for words in ("training", "validation", "kept: epoch 8"))
    assert '<td style="--share:0.96">288</td>' in page
    assert page.count('alt="Training image') == 8
    assert f'href="../{TRAINING_PAGE}"' in (pages / "tags/grove-vision-ai-v2.html").read_text()
    assert f'href="{TRAINING_PAGE}"' in (pages / "index.html").read_text()


def test_a_training_of_one_epoch_has_no_curve(tmp_path: Path) -> None:
    """One epoch is shown as figures instead of curves."""
    folder = render(sample(), tmp_path, epochs=1)
    page = (folder / TRAINING_PAGE).read_text()
    assert "loss-" not in page
    assert "<h2>The only epoch</h2>" in page
    assert "train/box_loss" in page


@pytest.mark.parametrize("width", [1280, PHONE])
def test_a_browser_paints_it(chromium: str, pages: Path, tmp_path: Path, width: int) -> None:
    """Pages render at desktop and phone widths, without scripts."""
    picture, place = tmp_path / "index.png", frame(pages / "index.html", width, tmp_path)
    browse(
        chromium,
        tmp_path / "profile",
        f"--screenshot={picture}",
        "--hide-scrollbars",
        f"--window-size={width},1600",
        f"file://{place}",
    )
    data = picture.read_bytes()
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    assert len(data) > 20_000  # it is not blank


def test_the_same_data_give_the_same_bytes(pages: Path, tmp_path: Path) -> None:
    """Plots contain no date and no random name; there is one for each axis on which two builds
    differ.
    """
    first, second = (render(sample(), tmp_path / name) for name in ("one", "two"))
    names = sorted(path.relative_to(first) for path in first.rglob("*") if path.is_file())
    assert [(first / name).read_bytes() for name in names] == [
        (second / name).read_bytes() for name in names
    ]
    plots = {path.name for path in (first / "plots").iterdir()}
    assert plots == {
        f"{axis}-{metric}.mAP50-95.svg" for axis in ("size",) for metric in ("box", "keypoints")
    }
    assert ">xiao-esp32s3<" in (first / "plots" / "size-box.mAP50-95.svg").read_text()


def test_an_empty_workspace_has_a_report(tmp_path: Path) -> None:
    """A report without figures is rendered."""
    folder = render(Report(version="0", artifacts=()), tmp_path)
    assert "no builds" in (folder / "index.html").read_text()


NETWORKS = """
nodes = [helper.make_node("ReduceMean", ["images"], ["mean"], keepdims=0),
         helper.make_node("Mul", ["mean", "zero"], ["nothing"]),
         helper.make_node("Add", ["nothing", "head"], ["detections"])]
weights = [numpy_helper.from_array(head, "head"), numpy_helper.from_array(np.float32(0), "zero")]
graph = helper.make_graph(nodes, "net", [helper.make_tensor_value_info("images", TensorProto.FLOAT, [1, 3, 32, 32])],
                          [helper.make_tensor_value_info("detections", TensorProto.FLOAT, list(head.shape))], weights)
model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)])
model.ir_version = 8
onnx.save(model, str(root / "model.onnx"))
# the same boxes as a TFLite file without operators: its output is a constant
import flatbuffers
from ai_edge_litert import schema_py_generated as schema
def tensor(name, shape, buffer):
    made = schema.TensorT()
    made.name, made.shape, made.buffer = name, shape, buffer
    return made
graph, model, buffers = schema.SubGraphT(), schema.ModelT(), [schema.BufferT(), schema.BufferT()]
buffers[1].data = np.frombuffer(head.tobytes(), np.uint8)
graph.tensors = [tensor("images", [1, 32, 32, 3], 0), tensor("detections", list(head.shape), 1)]
graph.inputs, graph.outputs, graph.operators = [0], [1], []
model.version, model.operatorCodes, model.subgraphs, model.buffers = 3, [], [graph], buffers
builder = flatbuffers.Builder()
builder.Finish(model.Pack(builder), b"TFL3")
(root / "model.tflite").write_bytes(builder.Output())
"""
"""Writes an ONNX and a TFLite file whose output is always `head`, into the folder `root`."""


DRAW = """
import json, sys
sys.path.insert(0, sys.argv[1])
import numpy as np, cv2, onnx
from onnx import TensorProto, helper, numpy_helper
from pathlib import Path
root = Path(sys.argv[2])
(root / "data" / "images").mkdir(parents=True)
(root / "data" / "labels").mkdir()
for index in range(3):
    cv2.imwrite(str(root / "data" / "images" / f"{index}.png"), np.full((40, 80, 3), 60 * index, np.uint8))
    (root / "data" / "labels" / f"{index}.txt").write_text("0 0.5 0.5 0.5 0.5\\n")
(root / "data" / "images" / "broken.png").write_bytes(b"no picture")
# two boxes of a decoded head [1, 4 + 1, 2]: one sure, one not
head = np.array([[[16, 8], [16, 8], [20, 4], [12, 4], [0.9, 0.1]]], np.float32)
"""


RECORD = """
import sys
sys.path.insert(0, sys.argv[1])
import json
import numpy as np
from pathlib import Path
from buildsys.steps.lib.parity.recording_files import Output, save
root = Path(sys.argv[2])
(root / "probe").mkdir()
names = ["images/2.png", "images/0.png"]
(root / "probe" / "sources.json").write_text(json.dumps(names))
heads = np.array([[[16, 8], [16, 8], [20, 4], [12, 4], [score, 0.1]] for score in (0.8, 0.2)])
save(root / "recording.npz", (Output(name="detections", values=heads.astype(np.float32)),))
(root / "checkpoint.pt").write_bytes(b"weights")
"""


@pytest.fixture(scope="module")
def drawn_from(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network, images of which one is broken, and recorded results of a checkpoint for two."""
    root = tmp_path_factory.mktemp("drawn")
    _, python = environments.ensure("evaluate", print)
    for program in (DRAW + NETWORKS, RECORD):
        command = [str(python), "-c", program, str(REPOSITORY), str(root)]
        subprocess.run(command, check=True, env=tool_environment(python, root))
    return root


def draw(root: Path, work: Path, task: str = "detect", **more: str) -> dict[str, Any]:
    """Run the step and return its messages; drawings are in `work`."""
    frame = {"height": 32, "width": 32, "color": "rgb", "resize": "letterbox"}
    split = {"name": "val", "paths": ["images"]}
    reading = {
        "split": split,
        "classes": ["tag"],
        "keypoints": 0,
        "keypoint_dims": 0,
        "sigmas": [],
        "head": "decoded",
        "preprocessing": frame,
        "task": task,
    }
    files = {"onnx": "model.onnx", "tflite": "model.tflite", "dataset": "data", **more}
    request = {
        "inputs": {name: str(root / path) for name, path in files.items()},
        "outputs": {"drawings": str(work / "drawings")},
        "params": {"split": split, "reading": reading},
    }
    run_step("draw_models", "evaluate", request, work / "step")
    found: dict[str, Any] = json.loads((work / "drawings" / "drawings.json").read_text())
    return found


def test_images_are_drawn_side_by_side(drawn_from: Path, tmp_path: Path) -> None:
    """Of two files, beside the labels; an image that cannot be read is passed over, the order is
    settled.
    """
    found = draw(drawn_from, tmp_path)
    assert len(found["pictures"]) == 3
    rows = [row["views"] for row in found["pictures"]]
    assert {(row[0]["form"], row[0]["objects"]) for row in rows} == {("labels", 1)}
    views = [view for row in rows for view in row[1:]]
    assert {(view["objects"], view["best"]["tag"]) for view in views} == {(1, 0.9)}
    names = {path.name for path in (tmp_path / "drawings").iterdir()}
    assert names == {"drawings.json"} | {
        f"{number}-{form}.jpg" for number in (1, 2, 3) for form in ("labels", "onnx", "tflite")
    }


def test_a_checkpoint_is_drawn_from_what_it_answered(drawn_from: Path, tmp_path: Path) -> None:
    """A checkpoint's detections are drawn from its recording, without its framework."""
    recorded = {"checkpoint": "checkpoint.pt", "recording": "recording.npz", "pictures": "probe"}
    found = draw(drawn_from, tmp_path, **recorded)
    assert [row["form"] for row in found["models"]] == ["checkpoint", "onnx", "tflite"]
    assert found["models"][0]["sha256"] == hashlib.sha256(b"weights").hexdigest()
    told = [(row["picture"], row["views"][1]) for row in found["pictures"]]
    assert [name for name, _ in told] == ["images/2.png", "images/0.png"]
    assert [(view["objects"], view["best"]["tag"]) for _, view in told] == [(1, 0.8), (0, 0.2)]


TURNED = """
import json, sys
sys.path.insert(0, sys.argv[1])
import numpy as np, cv2, onnx
from onnx import TensorProto, helper, numpy_helper
from pathlib import Path
from buildsys.steps.lib.heads.box_corners import corners_of
root, size = Path(sys.argv[2]), np.array([1280, 960])
(root / "data" / "images").mkdir(parents=True)
(root / "data" / "labels").mkdir()
cv2.imwrite(str(root / "data" / "images" / "0.png"), np.full((960, 1280, 3), 90, np.uint8))
corners = corners_of(np.array([[1000, 750, 240, 160, 0.3]]))[0] / size
(root / "data" / "labels" / "0.txt").write_text(" ".join(map(str, [0, *corners.ravel()])))
(root / "corners.json").write_text(json.dumps(corners.tolist()))
# the same box in a frame of 32 x 32: a fortieth of its size, below a border of 4 pixels
head = np.array([[[25], [22.75], [6], [4], [0.9], [0.3]]], np.float32)
"""


COLOURED = """
import json, sys
import cv2, numpy as np
image = cv2.imread(sys.argv[1]).astype(int)
corners = np.array(json.loads(open(sys.argv[2]).read())) * [image.shape[1], image.shape[0]]
found = []
for x, y in ((corners + np.roll(corners, 1, 0)) / 2).round().astype(int):
    near = image[y - 1 : y + 2, x - 1 : x + 2]
    found.append(int(np.ptp(near, axis=2).max()))
print(json.dumps(found))
"""
"""Prints how colourful an image is at the middle of each side of an outline."""


def test_an_oriented_box_is_drawn_where_it_is(tmp_path: Path) -> None:
    """On an image that is larger than its drawing, the outline of a detection is where the label
    is.
    """
    _, python = environments.ensure("evaluate", print)
    environment = tool_environment(python, tmp_path)
    command = [str(python), "-c", TURNED + NETWORKS, str(REPOSITORY), str(tmp_path)]
    subprocess.run(command, check=True, env=environment)
    found = draw(tmp_path, tmp_path, "obb")
    assert [view["objects"] for view in found["pictures"][0]["views"]] == [1, 1, 1]
    for form in ("labels", "onnx", "tflite"):
        drawing, corners = tmp_path / "drawings" / f"1-{form}.jpg", tmp_path / "corners.json"
        command = [str(python), "-c", COLOURED, str(drawing), str(corners)]
        run = subprocess.run(command, check=True, env=environment, capture_output=True, text=True)
        assert min(json.loads(run.stdout)) > 60, form
