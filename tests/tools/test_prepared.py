"""A trainer gets every image and label as buildsys reads them, at any workspace path."""

import json
import subprocess
from pathlib import Path

import pytest

from buildsys.execution.tools import environments
from tests.conftest import REPOSITORY
from tests.tools.places import (
    WARNINGS_ARE_ERRORS,
    bitmap,
    doit,
    make_workspace,
    read,
    store_of,
    tool_environment,
)
from tests.tools.prepared_cases import CUT, KEPT

pytestmark = pytest.mark.tools

MOUSE = """\
name: mouse
source: {family: ultralytics, task: pose, architecture: yolov8n-pose, weights: random}
dataset: {path: data/mouse/data.yaml}
input: {size: 32}
train: {epochs: 1, batch: 2}
targets: [checkpoint]
"""
DATA = """\
train: ../train/images
val: ../valid/images
test: ../test/images
kpt_shape: [4, 3]
nc: 1
names: ['mouse']
"""
LABEL = "0 .5 .5 .4 .4 .4 .4 2 .6 .4 2 .6 .6 1 0 0 0\n"


def test_ultralytics_has_nothing_left_to_decide(tmp_path: Path) -> None:
    """Ultralytics reads the same pixels, and accepts every prepared image and object."""
    _, python = environments.ensure("ultralytics", print)
    environment = tool_environment(python, tmp_path) | {"PYTHONPATH": str(REPOSITORY)}
    command = [str(python), "-m", "tests.tools.prepared_cases", str(tmp_path)]
    run = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert run.returncode == 0, run.stderr[-3000:]
    found = json.loads(run.stdout.splitlines()[-1])
    assert {name: far for name, far in found["ultralytics"].items() if far} == {}
    assert {name: far for name, far in found["program"].items() if far > 1} == {}
    assert {name: far for name, far in found["prepared"].items() if far} == {}
    assert (sorted(found["kept"]), sorted(found["cut"])) == (sorted(KEPT), sorted(CUT))
    assert (found["images"], found["labels"], found["plain"]) == (found["sources"], True, True)


OVERLAP = """\
import json, sys
from pathlib import Path

sys.path.insert(0, sys.argv[1])
from PIL import Image

from buildsys.steps import check_overlap, prepare_dataset
from buildsys.steps.lib.datasets.ultralytics_layout import Split
from tests.tools.prepared_cases import draw

root, split = Path(sys.argv[2]), Split(name="train", paths=("images/train",))
camera, target = root / "set" / "images" / "train", root / "prepared"
draw(camera)
(root / "set" / "labels" / "train").mkdir(parents=True)
for path in camera.iterdir():
    (root / "set" / "labels" / "train" / f"{path.stem}.txt").touch()
target.mkdir()
params = prepare_dataset.Params(
    format="ultralytics", splits=(split,), classes=("no", "yes"), shape="box"
)
prepare_dataset.run({"dataset": root / "set"}, {"dataset": target}, params)
turned = Image.Exif()
turned[0x0112] = 6
Image.new("RGB", (64, 48), (9, 99, 200)).save(camera / "unmeasured.jpg", exif=turned)
(root / "sources.json").write_text(json.dumps(sorted(path.name for path in camera.iterdir())))
inputs = {"calibration": root, "pictures": camera, "dataset": target}
params = check_overlap.Params(split=split)
check_overlap.run(inputs, {"evidence": root / "evidence.json"}, params)
"""


def test_an_image_is_found_again_after_it_was_prepared(tmp_path: Path) -> None:
    """Calibration images that the measured dataset holds in another form, such as a photo that EXIF
    data rotate and that became a PNG, are counted as overlap; other such photos are not.
    """
    _, python = environments.ensure("evaluate", print)
    run = subprocess.run(
        [str(python), *WARNINGS_ARE_ERRORS, "-c", OVERLAP, str(REPOSITORY), str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
        env=tool_environment(python, tmp_path),
    )
    assert run.returncode == 0, run.stderr[-3000:]
    evidence, names = read(tmp_path / "evidence.json"), read(tmp_path / "sources.json")
    assert evidence["calibration_overlap"] == evidence["measured_pictures"] == len(names) - 1
    assert len(names) > len((*KEPT, *CUT, "unmeasured.jpg"))
    assert "unmeasured.jpg" not in evidence["overlapping"]


WITHOUT_ROOM = """\
import resource, signal, sys
from pathlib import Path

sys.path.insert(0, sys.argv[1])
from buildsys.steps import generate_shapes

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
settings = generate_shapes.Settings(train=1, val=1)
params = generate_shapes.Params(task="detect", **vars(settings))
generate_shapes.run({}, {"dataset": Path(sys.argv[2])}, params)
"""


def test_an_image_that_cannot_be_written_ends_the_step(tmp_path: Path) -> None:
    """A generator without room for an image fails: OpenCV's own function only returns False."""
    _, python = environments.ensure("fiducials", print)
    run = subprocess.run(
        [str(python), "-c", WITHOUT_ROOM, str(REPOSITORY), str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
        env=tool_environment(python, tmp_path),
    )
    assert run.returncode == 1
    assert "OSError: [Errno 27] File too large" in run.stderr


def place(root: Path) -> Path:
    """A Roboflow pose dataset (4 keypoints, no sigmas, no flip pairs, no test split) is prepared."""
    make_workspace(root, mouse=MOUSE)
    for split, count in (("train", 4), ("valid", 2)):
        for kind in ("images", "labels"):
            (root / "data" / "mouse" / split / kind).mkdir(parents=True)
        for index in range(count):
            folder = root / "data" / "mouse" / split
            (folder / "images" / f"{index}.bmp").write_bytes(bitmap(32, index + count))
            (folder / "labels" / f"{index}.txt").write_text(LABEL)
    (root / "data" / "mouse" / "data.yaml").write_text(DATA)
    return root


def test_a_workspace_below_a_folder_images_trains_the_same_network(tmp_path: Path) -> None:
    """Action key and bytes do not depend on the workspace's path."""
    keys, networks = [], []
    for name in ("plain", "images"):
        root = place(tmp_path / name / "place")
        run = doit(root, store=store_of(root))
        assert run.returncode == 0, run.stdout + run.stderr
        assert "`flip_idx` is missing" in run.stdout + run.stderr
        manifest = read(root / "build" / "mouse" / "checkpoint" / "manifest.json")
        keys.append({step["stage"]: step["action_key"] for step in manifest["steps"]}["train"])
        (network,) = (root / "build" / "mouse" / "checkpoint").glob("*.pt")
        networks.append(network.read_bytes())
    assert keys[0] == keys[1]
    assert networks[0] == networks[1]
    metrics = read(root / "build" / "mouse" / "checkpoint" / "metrics.json")["checkpoint"]
    assert metrics["keypoint_sigmas"] == {
        "values": [0.25] * 4,
        "source": "Ultralytics' default, 1/4",
    }
