"""A build whose model is a folder is published, selected and rejected like one with a file."""

import json
from pathlib import Path

import pytest

from buildsys.execution.packages.model_file import digest_model, files_below, find_model
from buildsys.execution.session.session import Session
from buildsys.execution.store.store import Store
from buildsys.operations.published_model import find_published
from buildsys.report import collecting
from tests.conftest import Build, StandIn, no_environment

_BUILD = "tags@tensorflow-saved-model"


@pytest.fixture(autouse=True)
def _recipe(workspace: Path) -> None:
    path = workspace / "recipes" / "tags.yaml"
    text = path.read_text().partition("targets:")[0] + "targets: [tensorflow-saved-model]\n"
    path.write_text(text.replace("scheme: int8", "scheme: float32"))


def _package(folder: Path) -> dict[str, tuple[int, str]]:
    """Write a package like package_saved_model."""
    (folder / "tags_saved_model" / "variables").mkdir(parents=True)
    (folder / "tags_saved_model" / "saved_model.pb").write_bytes(b"graph")
    (folder / "tags_saved_model" / "variables" / "variables.index").write_bytes(b"index")
    (folder / "labels.txt").write_text("tag\n")
    return files_below(folder)


def test_the_model_of_a_package_may_be_a_folder(tmp_path: Path) -> None:
    """The model of a package can be a folder, whose size includes its weights."""
    model = find_model(_package(tmp_path))
    assert model is not None
    assert (model.name, model.bytes, model.format) == ("tags_saved_model", 10, "saved-model")
    assert model.sha256 == digest_model(tmp_path / model.name)
    store = Store(tmp_path / "store")
    assert model.sha256 == store.put_tree(tmp_path / model.name), "the digest that plans know"


def test_the_model_of_a_package_is_mostly_a_file(tmp_path: Path) -> None:
    """Usually the model is the first model file by name; a folder of text has none."""
    (tmp_path / "labels.txt").write_text("tag\n")
    assert find_model(files_below(tmp_path)) is None
    (tmp_path / "tags.tflite").write_bytes(b"model")
    model = find_model(files_below(tmp_path))
    assert model is not None
    assert (model.name, model.bytes, model.format) == ("tags.tflite", 5, "tflite")


def test_a_published_folder_that_was_changed_by_hand(workspace: Path, build: Build) -> None:
    """A changed file in the published folder is noticed."""
    build()
    folder = workspace / "build" / "tags" / "tensorflow-saved-model"
    assert (folder / "manifest.json").is_file()
    assert build() == []
    (folder / "model.tflite").unlink()  # the stand-in's package
    place = folder / "tags_saved_model"
    manifest = json.loads((folder / "manifest.json").read_bytes())
    rows = {n: {"bytes": b, "sha256": d} for n, (b, d) in _package(folder).items()}
    (folder / "manifest.json").write_text(json.dumps(manifest | {"files": rows}))
    session = Session(workspace, StandIn(), no_environment)
    published = find_published(session.workspace, _BUILD)
    assert (published.name, published.format) == ("tags_saved_model", "saved-model")
    (place / "saved_model.pb").write_bytes(b"other")
    with pytest.raises(Exception, match="was changed by hand"):
        find_published(session.workspace, _BUILD)
    session.close()


def test_a_red_gate_keeps_the_folder_aside(workspace: Path, build: Build, tools: StandIn) -> None:
    """A rejected folder is kept aside like a file."""
    tools.metric = 0.01
    build()
    assert not (workspace / "build" / "tags" / "tensorflow-saved-model").exists()
    kept = workspace / "build" / ".rejected" / _BUILD
    assert (kept / "tags_saved_model" / "file").is_file()
    assert json.loads((kept / "verdict.json").read_text())["stage"] == "gate"
    session = Session(workspace, tools, no_environment)
    (artifact,) = collecting.collect(session, [], None).artifacts
    assert artifact.status == "rejected"
    session.close()
