"""doit as people run it: a recipe in a folder, the real command, an edit, a second run.

The recipes here need no tool environment: a given TFLite file is packaged as it is.
"""

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from doit.doit_cmd import DoitMain

from buildsys import cli
from buildsys.authoring.scaffold.starters import LOADER_CONFIG
from buildsys.cli import main
from buildsys.doit.loader import Loader
from tests.conftest import REPOSITORY
from tests.given_models import MODEL, OTHER
from tests.processes import make_environments, set_tool

pytestmark = pytest.mark.slow

RECIPE = """\
name: NAME
source: {family: tflite, weights: {path: model.tflite}}
targets: [host]
"""


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A workspace with one recipe; what would run LiteRT only pretends."""
    make_environments(tmp_path)
    set_tool(tmp_path, seconds=0)
    root = tmp_path / "place"
    (root / "recipes").mkdir(parents=True)
    (root / "doit.cfg").write_text(LOADER_CONFIG)
    (root / "model.tflite").write_bytes(MODEL)
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
    assert (folder / "plain.tflite").read_bytes() == MODEL
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest["files"]["plain.tflite"]["sha256"] == hashlib.sha256(MODEL).hexdigest()
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
    (place / "model.tflite").write_bytes(OTHER)
    doit(place)
    assert statuses(place) == {"plain@host": "built, differs from lock"}
    (place / "model.tflite").write_bytes(MODEL)
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
        ("plain=host", "is not a build"),
        ("build:plain@host=1", "is not a build"),
    ],
)
def test_a_name_that_nothing_has_is_an_error(place: Path, argument: str, message: str) -> None:
    """Never a green run for a typo."""
    run = doit(place, argument)
    assert run.returncode == 3
    assert message in run.stderr


def test_a_list_tells_of_a_recipe_that_has_a_mistake(place: Path) -> None:
    """It has no build to list, and is not left out in silence."""
    write_recipe(place, "broken", "name: broken\nsurce: 1\n")
    done = doit(place, "list")
    assert "build:plain@host" in done.stdout
    assert "recipes/broken.yaml:1:1: error: " in done.stderr


def test_a_run_keeps_its_reporter(place: Path) -> None:
    """Another one would hold no lock and know none of our exit codes."""
    done = doit(place, "run", "--reporter", "console")
    assert done.returncode == 3
    assert "remove `--reporter console`" in done.stderr


def test_a_package_s_file_is_a_name_whether_or_not_anything_is_stale(place: Path) -> None:
    """doit takes a target for its task: before the first run and after it."""
    for _ in range(2):
        assert doit(place, "build/plain/host/manifest.json").returncode == 0
    assert doit(place, "info", "build/plain/host/manifest.json").returncode == 3


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
    assert "recipes/plain.yaml:2:64: error: model.tflite has a different sha256: " in run.stderr
    assert statuses(place) == {"plain": "failed at check"}


def test_a_file_that_changes_after_planning_is_refused(place: Path) -> None:
    """Plans are kept between runs; content is looked at in every one."""
    digest = hashlib.sha256(MODEL).hexdigest()
    write_recipe(place, "plain", RECIPE.replace("model.tflite", f"model.tflite, sha256: {digest}"))
    assert doit(place).returncode == 0
    (place / "model.tflite").write_bytes(OTHER)
    run = doit(place)
    assert run.returncode in (1, 2)
    assert f"the recipe says {digest}" in run.stderr or "has a different sha256" in run.stderr


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


HEAVY = (
    "pydantic",
    "ruamel.yaml",
    "rich",
    "tarfile",
    "email",
    "multiprocessing",
    "obstore",
    "cryptography",
    "buildsys.steps.lib.families.pickled_code",
    "asyncio",
)


def test_nothing_heavy_is_imported_when_nothing_changed(place: Path) -> None:
    """A no-op run parses no recipe, and asks no remote store anything."""
    doit(place)
    nobody = "https://127.0.0.1:1/results"
    code = (
        "import sys; from buildsys.execution.session.session import Session; from pathlib import Path;"
        " s = Session(Path('.')); s.prepare(list(s.plans)); [s.publisher.is_published(p) for p in s.plans.values()];"
        f" print([m for m in {HEAVY} if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=place,
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY), "BUILDSYS_REMOTE": nobody},
    )
    assert (done.stdout.strip(), done.stderr) == ("[]", "")


def test_a_step_that_two_recipes_call_differently(workspace: Path) -> None:
    """One recipe's samples are another's calibration: doit is asked for a task that nobody has."""
    text = (workspace / "recipes" / "tags.yaml").read_text()
    (workspace / "doit.cfg").write_text(LOADER_CONFIG)
    twin = text.replace("name: tags", "name: twin").replace(
        "count: 3, seed: 0", "count: 4, seed: 0"
    )
    (workspace / "recipes" / "twin.yaml").write_text(twin)
    done = doit(workspace, "list")
    assert "build:twin@xiao-esp32s3" in done.stdout, done.stderr
    assert "does not exist" not in done.stdout + done.stderr


def test_two_workspaces_are_built_in_one_process(place: Path, tmp_path: Path) -> None:
    """Nothing of a run is the process's: not its session, not its options, not the current folder."""
    other = tmp_path / "other"
    (other / "recipes").mkdir(parents=True)
    (other / "model.tflite").write_bytes(OTHER)
    write_recipe(other, "second")
    write_recipe(other, "later", RECIPE.replace("model.tflite", f"no.tflite, sha256: {'0' * 64}"))
    here = Path.cwd()
    assert cli.main(["-C", str(other), "build", "--strict"]) == 10
    assert cli.main(["-C", str(place), "build", "plain@host"]) == 0
    assert cli.main(["-C", str(other), "build"]) == 0
    assert statuses(place) == {"plain@host": "built"}
    assert statuses(other) == {
        "later@host": "waiting for no.tflite",
        "second@host": "up-to-date",
    }
    assert Path.cwd() == here


@pytest.mark.parametrize("name", ["build:nothing*", "plain@host=1", "pla*=1"])
def test_buildsys_build_refuses_a_name_that_matches_nothing(place: Path, name: str) -> None:
    """As doit does, with the exit code of wrong input."""
    assert cli.main(["-C", str(place), "build", name]) == 2
    assert not (place / "build").exists()


@pytest.fixture
def ask(place: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """A command of doit's in this process, over the workspace; what it prints."""

    def call(*arguments: str) -> str:
        capsys.readouterr()
        DoitMain(Loader(place), config_filenames=()).run(list(arguments))
        printed = capsys.readouterr()
        assert printed.err == ""
        return printed.out

    return call


def build(root: Path) -> dict[str, str]:
    """What a run of all builds came to."""
    cli.main(["-C", str(root), "build"])
    return statuses(root)


def test_doit_shows_what_a_build_reads_and_writes(place: Path, ask: Callable[..., str]) -> None:
    """`list --status --deps` and `info`: before the first run, when up to date, after an edit."""
    listing = ("list", "--status", "--deps", "build:plain@host")
    before = ask(*listing).splitlines()
    assert before[0].startswith("R build:plain@host")
    assert {" -  recipes/plain.yaml", " -  model.tflite"} <= set(before)
    build(place)
    assert ask(*listing).startswith("U build:plain@host")
    info = ask("info", "build:plain@host")
    assert "status     : up-to-date" in info
    assert " - build/plain/host/plain.tflite\n" in info
    (place / "model.tflite").write_bytes(OTHER)
    assert ask(*listing).startswith("R build:plain@host")
    assert "`buildsys plan plain@host` shows why" in ask("info", "build:plain@host")


def test_a_file_s_time_alone_makes_no_build_stale(place: Path, ask: Callable[..., str]) -> None:
    """doit shows the files; it does not decide by them."""
    build(place)
    (place / "model.tflite").touch()
    assert ask("list", "-s", "build:plain@host").startswith("U ")
    assert build(place) == {"plain@host": "up-to-date"}


def test_files_that_are_not_here_are_no_error_of_doit(place: Path, ask: Callable[..., str]) -> None:
    """A build that waits is a task to run."""
    write_recipe(place, "later", RECIPE.replace("model.tflite", f"no.tflite, sha256: {'0' * 64}"))
    shown = ask("list", "--status", "--deps", "build:later@host")
    assert shown.startswith("R build:later@host")
    assert " -  recipes/later.yaml\n" in shown


def test_clean_takes_the_package_away_and_a_dry_run_says_so(
    place: Path, ask: Callable[..., str]
) -> None:
    """`doit clean -n build:ID` prints the folder, `doit clean build:ID` removes it."""
    build(place)
    sentence = "build:plain@host - removing build/plain/host\n"
    assert sentence in ask("clean", "-n", "build:plain@host")
    assert (place / "build" / "plain" / "host").is_dir()
    assert sentence in ask("clean", "build:plain@host")
    assert not (place / "build" / "plain" / "host").exists()


@pytest.mark.parametrize("arguments", [(), ("build:plain@host",), ("--all",)])
def test_after_forget_a_build_is_done_again(
    place: Path, ask: Callable[..., str], arguments: tuple[str, ...]
) -> None:
    """From the store: what is forgotten is that nothing is to do."""
    build(place)
    assert "forgetting" in ask("forget", *arguments)
    assert ask("list", "-s", "build:plain@host").startswith("R ")
    assert build(place) == {"plain@host": "restored"}


OWN_TASKS = """\
def task_copy():
    return {
        "actions": ["cp build/plain/host/plain.tflite copy.tflite"],
        "file_dep": ["build/plain/host/manifest.json"],
        "targets": ["copy.tflite"],
    }

def task_fails():
    return {"actions": ["false"]}
"""


def test_tasks_of_a_dodo_run_after_the_builds_that_they_read(place: Path) -> None:
    """The loader adds the builds to what a dodo.py has; settled builds are there for it, too."""
    (place / "dodo.py").write_text(OWN_TASKS)
    for model in (MODEL, MODEL, OTHER):
        (place / "model.tflite").write_bytes(model)
        run = doit(place, "copy")
        assert run.returncode == 0, run.stderr
        assert (place / "copy.tflite").read_bytes() == model
    failed = doit(place, "fails")
    assert failed.returncode == 1
    assert "'false' returned 1" in failed.stderr


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("from buildsys.engine.tasks import tasks", "belongs to another release"),
        ("import no_such_module", "dodo.py cannot be imported: No module named 'no_such_module'"),
        ("def task_report(): return {'actions': []}", "`report` is a task of buildsys"),
    ],
)
def test_a_dodo_that_cannot_be_used_is_one_sentence(place: Path, line: str, message: str) -> None:
    """No traceback, exit code 3."""
    (place / "dodo.py").write_text(line)
    run = doit(place)
    assert run.returncode == 3
    assert message in run.stderr
    assert "Traceback" not in run.stderr


def test_a_dodo_of_another_release_is_one_sentence_without_the_loader_too(place: Path) -> None:
    """A workspace of an early release has no doit.cfg: doit's own loader imports its dodo.py."""
    (place / "doit.cfg").unlink()
    (place / "dodo.py").write_text("from buildsys.engine.tasks import DOIT_CONFIG, tasks\n")
    run = doit(place)
    assert run.returncode == 3
    assert run.stderr.startswith("ERROR: dodo.py belongs to another release")
    assert "run `buildsys init`" in run.stderr
    assert "Traceback" not in run.stderr


def test_without_its_loader_doit_finds_the_builds_by_dodo_py(place: Path) -> None:
    """doit's default loader passes no arguments on: names are checked by doit, the rest is the same."""
    (place / "doit.cfg").unlink()
    (place / "dodo.py").write_text((REPOSITORY / "dodo.py").read_text())
    assert doit(place).returncode == 0
    assert statuses(place) == {"plain@host": "built"}
    shown = doit(place, "list", "--status", "--deps").stdout
    assert shown.startswith("U build:plain@host")
    assert " -  recipes/plain.yaml\n" in shown
    for name in ("build:plian@host", "build:nothing*", "plain=host"):
        assert doit(place, name).returncode == 3


def test_a_run_that_cannot_begin_has_the_exit_code_of_buildsys(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """doit has a code of its own for names alone."""
    monkeypatch.setenv("BUILDSYS_STORE", str(place / "store"))
    run = doit(place)
    assert run.returncode == main(["-C", str(place), "build"]) == 1
    assert run.stderr.startswith("ERROR: BUILDSYS_STORE is ")


@pytest.mark.parametrize("config", ["doit.cfg", "dodo.py"])
def test_steps_run_in_no_process_of_doit(place: Path, config: str) -> None:
    """`-P process` is refused in one sentence, whoever loads the tasks."""
    (place / "doit.cfg").unlink()
    text = LOADER_CONFIG if config == "doit.cfg" else (REPOSITORY / "dodo.py").read_text()
    (place / config).write_text(text)
    run = doit(place, "-n", "2", "-P", "process")
    assert run.returncode in (1, 3)
    assert "remove `-P process`" in run.stderr
