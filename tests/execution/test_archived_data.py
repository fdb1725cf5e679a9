"""Datasets in archives, and datasets without splits."""

import hashlib
import re
import shutil
import subprocess
import sys
import threading
import zipfile
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from buildsys.cli import main
from buildsys.execution.session.dataset_archives import fetch_step
from buildsys.graph import Archive
from buildsys.steps import split_dataset
from buildsys.steps.lib.datasets.prepared import Description
from buildsys.steps.lib.datasets.ultralytics_layout import Split
from buildsys.steps.lib.runtime.progress import StepError
from tests import processes
from tests.processes import make_place, run_doit


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *args: object) -> None:
        """Nothing on the test's output."""


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    """The address of a server for `tmp_path/served`."""
    (tmp_path / "served").mkdir()
    handler = partial(_Quiet, directory=str(tmp_path / "served"))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{running.server_address[1]}"
        running.shutdown()


def archived_place(tmp_path: Path, server: str, digest: str = "") -> Path:
    """A workspace whose dataset is on a server."""
    place = make_place(tmp_path)
    archive = tmp_path / "served" / "tags.zip"
    with zipfile.ZipFile(archive, "w") as packed:
        for path in sorted((place / "tags").rglob("*")):
            packed.write(path, path.relative_to(place))
    shutil.rmtree(place / "tags")
    recipe = place / "recipes" / "tags.yaml"
    digest = digest or hashlib.sha256(archive.read_bytes()).hexdigest()
    said = f'{{format: ultralytics, url: "{server}/tags.zip", sha256: {digest}}}'
    text = recipe.read_text()
    recipe.write_text(text.replace("{format: ultralytics, path: tags/data.yaml}", said))
    return place


def test_a_fetched_archive_is_named_by_the_keys_of_its_dataset() -> None:
    """A changed digest of a dataset is reported under its own key, not as that of weights."""
    step = fetch_step(Archive(url="http://127.0.0.1/d.tar", sha256="a" * 64))
    assert [origin.label for origin in step.origins] == ["dataset.sha256", "dataset.url"]


@pytest.mark.slow
def test_an_archive_is_fetched_once_and_built_from(tmp_path: Path, server: str) -> None:
    """An archive is downloaded once, and builds use it."""
    place = archived_place(tmp_path, server)
    done = run_doit(place)
    assert done.returncode == 0, done.stdout
    assert set(processes.statuses(place).values()) == {"built"}
    (tmp_path / "served" / "tags.zip").unlink()
    shutil.rmtree(place / "build")
    assert run_doit(place).returncode == 0
    shutil.rmtree(tmp_path / "cache" / "buildsys" / "datasets")
    shutil.rmtree(place / ".buildsys")
    shutil.rmtree(place / "build")
    assert run_doit(place).returncode == 0, "the lock knows its facts, the store its results"
    assert set(processes.statuses(place).values()) == {"restored"}


@pytest.mark.slow
def test_an_archive_that_was_pinned_is_not_fetched_again(tmp_path: Path, server: str) -> None:
    """`pin` keeps and unpacks the archive that it fetches to find the digest: `check` reads it, and
    no build fetches it again.
    """
    place = archived_place(tmp_path, server)
    recipe = place / "recipes" / "tags.yaml"
    recipe.write_text(re.sub(r", sha256: [0-9a-f]{64}", "", recipe.read_text()))
    command = [sys.executable, "-m", "buildsys", "pin"]
    subprocess.run(command, cwd=place, env=processes.environment(tmp_path), check=True)
    (tmp_path / "served" / "tags.zip").unlink()
    command[-1] = "check"
    environment = processes.environment(tmp_path)
    done = subprocess.run(command, cwd=place, env=environment, capture_output=True, check=True)
    assert b"has not been fetched" not in done.stdout
    run = run_doit(place)
    assert run.returncode == 0, run.stdout
    assert set(processes.statuses(place).values()) == {"built"}


@pytest.mark.slow
def test_a_dataset_that_was_edited_after_unpacking_is_unpacked_again(
    tmp_path: Path, server: str
) -> None:
    """An edited dataset is unpacked again, and the lock stays the same."""
    place = archived_place(tmp_path, server)
    assert run_doit(place).returncode == 0
    lock = (place / "buildsys.lock").read_bytes()
    (unpacked,) = (tmp_path / "cache" / "buildsys" / "datasets").glob("?" * 64)
    image = next(path for path in sorted(unpacked.rglob("*.jpg")))
    whole = image.read_bytes()
    image.write_bytes(b"another image")
    done = run_doit(place)
    assert done.returncode == 0
    said = done.stdout + str(done.stderr)
    assert f"{image.relative_to(unpacked)} was changed; the old content is now" in said
    assert f"{server}/tags.zip was unpacked again" in said
    assert set(processes.statuses(place).values()) <= {"restored", "up-to-date"}
    assert image.read_bytes() == whole
    assert (place / "buildsys.lock").read_bytes() == lock


@pytest.mark.slow
def test_an_archive_that_cannot_be_had_is_waited_for(tmp_path: Path, server: str) -> None:
    """An unavailable archive makes its builds wait."""
    place = archived_place(tmp_path, server)
    (tmp_path / "served" / "tags.zip").unlink()
    done = run_doit(place)
    assert done.returncode == 0
    assert "could not be fetched" in done.stdout + str(done.stderr)
    assert processes.statuses(place)["tags@xiao-esp32s3"] == f"waiting for {server}/tags.zip"
    assert run_doit(place, "build:tags@xiao-esp32s3").returncode == 10


@pytest.mark.slow
def test_an_archive_of_another_digest_is_refused(tmp_path: Path, server: str) -> None:
    """An archive with another digest is rejected."""
    place = archived_place(tmp_path, server, "0" * 64)
    done = run_doit(place, "build:tags@xiao-esp32s3")
    assert done.returncode == 10
    assert "the recipe says 000000" in done.stdout + str(done.stderr)
    assert not (tmp_path / "cache" / "buildsys" / "datasets").exists()


@pytest.mark.slow
def test_sync_says_what_it_would_fetch(
    tmp_path: Path, server: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """`sync` announces what it would download, and ends with 1 if it could not."""
    place = archived_place(tmp_path, server)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    main(["-C", str(place), "sync", "--dry-run"])
    assert f"would fetch     {server}/tags.zip" in capsys.readouterr().out
    assert not (tmp_path / "cache" / "buildsys" / "datasets").exists()
    archive = tmp_path / "served" / "tags.zip"
    archive.rename(tmp_path / "tags.zip")
    assert main(["-C", str(place), "sync"]) == 1
    (tmp_path / "tags.zip").rename(archive)
    assert main(["-C", str(place), "sync"]) == 0
    assert len(list((tmp_path / "cache" / "buildsys" / "datasets").glob("?" * 64))) == 1


@pytest.mark.slow
def test_an_archive_that_cannot_be_unpacked_is_reported(
    tmp_path: Path, server: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """An archive that cannot be unpacked is reported."""
    place = archived_place(tmp_path, server, hashlib.sha256(b"no archive").hexdigest())
    (tmp_path / "served" / "tags.zip").write_bytes(b"no archive")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    main(["-C", str(place), "sync"])
    said = capsys.readouterr().err
    assert "this is neither a zip nor a tar archive" in said


def _flat(root: Path, count: int) -> Path:
    """Write images into one folder, every third one twice, with labels."""
    for kind in ("images", "labels"):
        (root / kind).mkdir(parents=True)
    for index in range(count):
        for copy in ("", "-again") if index % 3 == 0 else ("",):
            (root / "images" / f"{index}{copy}.jpg").write_bytes(b"%d" % index)
            (root / "labels" / f"{index}{copy}.txt").write_text(f"0 .5 .5 .1 .{index + 1}\n")
    return root


def _split(root: Path, target: Path, **shares: float) -> dict[str, set[bytes]]:
    split = Split(name="train", paths=("images",))
    given = {"val": 0.25, "test": 0.0, "seed": 0, **shares}
    labels = Description(classes=("tag",), keypoints=4, keypoint_dims=3)
    params = split_dataset.Params(description=labels, split=split, **given)  # type: ignore[arg-type]
    target.mkdir()
    split_dataset.run({"dataset": root}, {"dataset": target}, params)
    folders = sorted((target / "images").iterdir())
    return {folder.name: {path.read_bytes() for path in folder.iterdir()} for folder in folders}


def test_equal_images_stay_in_one_split(tmp_path: Path) -> None:
    """Equal images stay in one split."""
    root = _flat(tmp_path / "flat", 12)
    sides = _split(root, tmp_path / "a")
    assert {name: len(found) for name, found in sides.items()} == {"train": 9, "val": 3}
    assert not sides["train"] & sides["val"]
    assert len(list((tmp_path / "a" / "labels").rglob("*.txt"))) == 16
    text = (tmp_path / "a" / "data.yaml").read_text()
    wanted = 'train: images/train\nval: images/val\nnames:\n  0: "tag"\nkpt_shape: [4, 3]\n'
    assert text == wanted


def test_a_split_is_the_same_everywhere(tmp_path: Path) -> None:
    """A split does not depend on names or machines."""
    root = _flat(tmp_path / "flat", 12)
    first = _split(root, tmp_path / "a", test=0.1)
    for path in list((root / "images").iterdir()):
        path.rename(path.with_name(f"x{path.name}"))
    assert _split(root, tmp_path / "b", test=0.1) == first
    assert set(first) == {"train", "val", "test"}
    assert _split(root, tmp_path / "c", seed=1) != _split(root, tmp_path / "d")


def test_too_few_images_to_share(tmp_path: Path) -> None:
    """Too few images to split are an error."""
    with pytest.raises(StepError, match="1 distinct images cannot be shared out"):
        _split(_flat(tmp_path / "flat", 1), tmp_path / "a")
