"""doit as people run it: a recipe in a folder, the real command, an edit, a second run.

The recipes here need no tool environment: a given TFLite file is packaged as it is.
"""

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY

pytestmark = pytest.mark.slow

RECIPE = """\
name: NAME
source: {family: tflite, weights: {path: model.tflite}}
targets: [host]
"""


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A workspace with one recipe."""
    root = tmp_path / "place"
    (root / "recipes").mkdir(parents=True)
    (root / "dodo.py").write_text((REPOSITORY / "dodo.py").read_text())
    (root / "model.tflite").write_bytes(b"1234TFL3")
    write_recipe(root, "plain")
    return root


def write_recipe(root: Path, name: str, text: str = RECIPE) -> None:
    """One more recipe."""
    (root / "recipes" / f"{name}.yaml").write_text(text.replace("NAME", name))


def doit(root: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run doit in a workspace."""
    return subprocess.run(
        [sys.executable, "-m", "doit", *arguments],
        cwd=root,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
    )


def statuses(root: Path) -> dict[str, str]:
    """Build id -> status, from the summary."""
    data = json.loads((root / "build" / "summary.json").read_text())
    return {row["id"]: row["status"] for row in data["builds"]}


def test_a_first_run_builds_and_a_second_does_nothing(place: Path) -> None:
    """The promise of a build system."""
    first = doit(place)
    assert first.returncode == 0, first.stderr
    assert statuses(place) == {"plain@host": "built"}
    folder = place / "build" / "plain" / "host"
    assert (folder / "plain.tflite").read_bytes() == b"1234TFL3"
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest["files"]["plain.tflite"]["sha256"] == hashlib.sha256(b"1234TFL3").hexdigest()
    second = doit(place)
    assert statuses(place) == {"plain@host": "up-to-date"}
    assert "up-to-date" in second.stdout
    assert second.stderr == ""


def test_deleting_build_or_going_back_restores(place: Path) -> None:
    """Nothing is made twice that the store still has."""
    doit(place)
    (place / "build" / "plain" / "host" / "plain.tflite").write_bytes(b"scribbled")
    doit(place)
    assert statuses(place) == {"plain@host": "restored"}
    (place / "model.tflite").write_bytes(b"other--TFL3")
    doit(place)
    assert statuses(place) == {"plain@host": "built"}
    (place / "model.tflite").write_bytes(b"1234TFL3")
    doit(place)
    assert statuses(place) == {"plain@host": "restored"}


def test_a_lost_cache_costs_nothing_but_time(place: Path) -> None:
    """.buildsys may be deleted at any moment."""
    doit(place)
    subprocess.run(["rm", "-r", str(place / ".buildsys")], check=True)
    doit(place)
    assert statuses(place) == {"plain@host": "restored"}


def test_list_shows_every_build(place: Path) -> None:
    """Without --all, and no private step."""
    write_recipe(place, "second")
    listed = doit(place, "list").stdout
    assert "build:plain@host" in listed
    assert "build:second@host" in listed
    assert "_package" not in listed


def test_a_broken_recipe_stops_no_other(place: Path) -> None:
    """The good one is built, the broken one is named, the exit code is red."""
    write_recipe(place, "broken", "name: NAME\nsorce: {}\ntargets: [host]\n")
    run = doit(place)
    assert run.returncode == 1
    assert statuses(place) == {"plain@host": "built", "broken": "failed at check"}
    assert "recipes/broken.yaml:2:1: error: unknown key `sorce`" in run.stderr


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("build:plian@host", "did you mean `build:plain@host`?"),
        ("build:nothing*", "matches no build"),
        ("plain=host", "names no build"),
    ],
)
def test_a_name_that_nothing_has_is_an_error(place: Path, argument: str, message: str) -> None:
    """Never a green run for a typo."""
    run = doit(place, argument)
    assert run.returncode == 3
    assert message in run.stderr


def test_a_missing_file_with_a_digest_is_waited_for(place: Path) -> None:
    """Asked for by name: exit code 10. Otherwise the rest builds and the run is green."""
    digest = "0" * 64
    write_recipe(place, "later", RECIPE.replace("model.tflite", f"absent.tflite, sha256: {digest}"))
    assert doit(place).returncode == 0
    assert statuses(place)["later@host"] == "waiting for absent.tflite"
    assert doit(place, "build:later@host").returncode == 10


def test_a_file_with_another_digest_is_refused(place: Path) -> None:
    """The digest in the recipe is the one that counts; said at its line, before any work."""
    other = f"model.tflite, sha256: {'0' * 64}"
    write_recipe(place, "plain", RECIPE.replace("model.tflite", other))
    run = doit(place)
    assert run.returncode == 1
    assert "recipes/plain.yaml:2:64: error: model.tflite has another sha256: " in run.stderr
    assert statuses(place) == {"plain": "failed at check"}


def test_a_file_that_changes_after_planning_is_refused(place: Path) -> None:
    """Plans are kept between runs; content is looked at in every one."""
    digest = hashlib.sha256(b"1234TFL3").hexdigest()
    write_recipe(place, "plain", RECIPE.replace("model.tflite", f"model.tflite, sha256: {digest}"))
    assert doit(place).returncode == 0
    (place / "model.tflite").write_bytes(b"other--TFL3")
    run = doit(place)
    assert run.returncode in (1, 2)
    assert f"the recipe says {digest}" in run.stderr or "has another sha256" in run.stderr


def test_parallel_equals_serial(place: Path, tmp_path: Path) -> None:
    """-n changes the order, never the bytes."""
    for index in range(6):
        write_recipe(place, f"more-{index}")
    doit(place)
    serial = manifests(place)
    subprocess.run(
        ["rm", "-r", *map(str, (place / "build", place / ".buildsys", tmp_path / "store"))],
        check=True,
    )
    doit(place, "-n", "3")
    assert manifests(place) == serial
    assert len(serial) == 7


def manifests(root: Path) -> dict[str, bytes]:
    """Every manifest's bytes."""
    return {str(p.relative_to(root)): p.read_bytes() for p in root.glob("build/*/*/manifest.json")}


def test_nothing_heavy_is_imported_when_nothing_changed(place: Path) -> None:
    """A no-op run parses no recipe."""
    doit(place)
    code = (
        "import sys; from buildsys.execution.session.session import Session; from pathlib import Path;"
        " s = Session(Path('.')); s.prepare(list(s.plans)); [s.publisher.is_published(p) for p in s.plans.values()];"
        " print([m for m in ('pydantic', 'ruamel.yaml', 'rich') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=place,
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
    )
    assert done.stdout.strip() == "[]"


def test_a_step_that_two_recipes_call_differently(workspace: Path) -> None:
    """One recipe's samples are another's calibration: doit is asked for a task that nobody has."""
    text = (workspace / "recipes" / "tags.yaml").read_text()
    (workspace / "dodo.py").write_text((REPOSITORY / "dodo.py").read_text())
    twin = text.replace("name: tags", "name: twin").replace(
        "count: 3, seed: 0", "count: 4, seed: 0"
    )
    (workspace / "recipes" / "twin.yaml").write_text(twin)
    done = doit(workspace, "list")
    assert "build:twin@xiao-esp32s3" in done.stdout, done.stderr
    assert "does not exist" not in done.stdout + done.stderr
