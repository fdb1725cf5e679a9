"""An engine that the real builder of TensorRT-RTX builds in an environment without buildsys."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from buildsys.digest import digest_file
from buildsys.execution.tools import environments
from tests.conftest import REPOSITORY
from tests.tools.places import doit, draw, make_workspace, read, statuses, store_of

pytestmark = pytest.mark.tools

_TINY = """\
name: tiny
source: {family: ultralytics, task: detect, architecture: yolov8n, weights: random}
input: {size: 64}
evaluate: none
quantization: {scheme: int8, calibration: {images: "pictures/*.bmp", count: 4}}
targets: [nvidia-rtx-aot]
"""
_BUILD = "tiny@nvidia-rtx-aot"


def buildsys(root: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Run a buildsys command with the workspace's own store."""
    environment = {"PYTHONPATH": str(REPOSITORY), "BUILDSYS_STORE": str(store_of(root))}
    code = "import sys; from buildsys.cli import main; sys.exit(main())"
    return subprocess.run(
        [sys.executable, "-c", code, *words],
        cwd=root,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, **environment},
    )


@pytest.fixture(scope="module")
def bundled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A workspace with a bundle and without an engine."""
    root = make_workspace(tmp_path_factory.mktemp("bundles") / "place", tiny=_TINY)
    draw(root / "pictures", 64, 4)
    run = buildsys(root, "bundle", _BUILD)
    assert run.returncode == 0, run.stderr
    assert "take it to a machine with TensorRT-RTX 1.7 (no GPU is needed)" in run.stdout
    yield root
    shutil.rmtree(root)


def carry(root: Path, place: Path) -> Path:
    """Copy the bundle, as to another machine."""
    return Path(shutil.copytree(root / "build" / "bundles" / "tiny" / "nvidia-rtx-aot", place))


def build(python: Path, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run `python3 build.py` without this environment's variables."""
    return subprocess.run(
        [str(python), str(folder / "build.py")],
        capture_output=True,
        text=True,
        check=False,
        env={},
        cwd=folder.parent,
    )


def test_without_the_library_one_sentence(bundled: Path, tmp_path: Path) -> None:
    """Without the library, build.py prints one sentence."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", tmp_path / "bare"], check=True)
    run = build(tmp_path / "bare" / "bin" / "python", carry(bundled, tmp_path / "away"))
    assert (run.returncode, run.stdout) == (4, "")
    assert run.stderr == "TensorRT-RTX 1.7 is missing: pip install tensorrt-rtx-cu13==1.7.1.116\n"


def test_another_version_is_refused(bundled: Path, tmp_path: Path) -> None:
    """Another version is refused."""
    away = carry(bundled, tmp_path / "away")
    told = read(away / "bundle.json")
    told["request"]["version"] = "1.6"
    (away / "bundle.json").write_text(json.dumps(told))
    _, python = environments.ensure("tensorrt-rtx-1.7", print)
    run = build(python, away)
    assert run.returncode == 3
    assert run.stderr == "TensorRT-RTX 1.6 is wanted, and 1.7.1.116 is installed here\n"
    assert not (away / "result").exists()


def test_there_and_back(bundled: Path, tmp_path: Path) -> None:
    """An imported engine is published without building, and equals one built here."""
    away = carry(bundled, tmp_path / "away")
    _, python = environments.ensure("tensorrt-rtx-1.7", print)
    run = build(python, away)
    assert run.returncode == 0, run.stderr
    assert {path.name for path in (away / "result").iterdir()} == {
        "bundle.json",
        "facts.json",
        "model.engine",
        "result.json",
    }
    other = Path(shutil.copytree(away, tmp_path / "other"))
    facts = read(other / "result" / "facts.json")
    facts["outputs"][0]["shape"][1] += 1
    (other / "result" / "facts.json").write_text(json.dumps(facts))
    told = read(other / "result" / "result.json")
    told["files"]["facts.json"] = digest_file(other / "result" / "facts.json")
    (other / "result" / "result.json").write_text(json.dumps(told))
    run = buildsys(bundled, "import", str(other))
    assert run.returncode == 2
    assert (
        "describes another network: the engine has the output box_s8 of 1 x 65 x 64" in run.stderr
    )
    run = buildsys(bundled, "import", str(away))
    assert run.returncode == 0, run.stderr
    assert run.stdout.startswith(f"{_BUILD}: engine built by TensorRT-RTX 1.7.1.116 on linux-")
    assert doit(bundled, f"build:{_BUILD}", store=store_of(bundled)).returncode == 0
    package = bundled / "build" / "tiny" / "nvidia-rtx-aot"
    shipped = digest_file(package / "tiny.engine")
    assert shipped == digest_file(away / "result" / "model.engine")
    assert not (package / "logs" / "engine.log").exists()
    assert read(package / "engine.json")["outputs"][0]["name"] == "box_s8"
    shutil.rmtree(store_of(bundled))
    shutil.rmtree(bundled / ".buildsys")
    assert doit(bundled, f"build:{_BUILD}", store=store_of(bundled)).returncode == 0
    assert statuses(bundled) == {_BUILD: "built"}
    assert (package / "logs" / "engine.log").exists()
    assert digest_file(package / "tiny.engine") == shipped  # int8: the same bytes on one machine
