"""doit as users run it: a recipe in a folder, the real command, an edit, a second run.

The recipes here need no tool environment: a TFLite source is packaged unchanged.
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
from buildsys.locks import locked
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
    """A workspace with one recipe; LiteRT's environment is a stand-in."""
    make_environments(tmp_path)
    set_tool(tmp_path, seconds=0)
    root = tmp_path / "place"
    (root / "recipes").mkdir(parents=True)
    (root / "doit.cfg").write_text(LOADER_CONFIG)
    (root / "model.tflite").write_bytes(MODEL)
    write_recipe(root, "plain")
    return root


def write_recipe(root: Path, name: str, text: str = RECIPE) -> None:
    """Write a recipe."""
    (root / "recipes" / f"{name}.yaml").write_text(text.replace("NAME", name))


def doit(root: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run doit in a workspace and return the process."""
    return subprocess.run(
        [sys.executable, "-m", "doit", *arguments],
        cwd=root,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
    )


def statuses(root: Path) -> dict[str, str]:
    """The status of each build in the summary."""
    data = json.loads((root / "build" / "summary.json").read_text())
    return {row["id"]: row["status"] for row in data["builds"]}


def test_a_first_run_builds_and_a_second_does_nothing(place: Path) -> None:
    """The second run is up to date and runs no step."""
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
    """Results that the store has are restored, not made again."""
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
    """After .buildsys was deleted, the run restores everything."""
    doit(place)
    subprocess.run(["rm", "-r", str(place / ".buildsys")], check=True)
    doit(place)
    assert statuses(place) == {"plain@host": "restored"}


def test_list_shows_every_build(place: Path) -> None:
    """`doit list` shows all builds without --all, and no steps."""
    write_recipe(place, "second")
    listed = doit(place, "list").stdout
    assert "build:plain@host" in listed
    assert "build:second@host" in listed
    assert "_package" not in listed


def test_a_broken_recipe_stops_no_other(place: Path) -> None:
    """The valid recipe is built, the broken one is reported, the exit code is not 0."""
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
    """A name that matches nothing is an error."""
    run = doit(place, argument)
    assert run.returncode == 3
    assert message in run.stderr


def test_build_takes_a_recipe_s_name_and_repeats_what_was_typed(
    place: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """`buildsys build` builds a recipe by its name; a message has no prefix that was not typed."""
    write_recipe(place, "plain2")
    assert main(["-C", str(place), "build", "plain"]) == 0
    assert statuses(place) == {"plain@host": "built"}
    assert main(["-C", str(place), "build", "plian"]) == 2
    error = capfd.readouterr().err
    assert "`plian` matches no build; did you mean `plain@*`?" in error
    assert "build:" not in error


@pytest.mark.parametrize("command", ["build", "doit"])
def test_patterns_that_match_the_same_build_count_it_once(place: Path, command: str) -> None:
    """Every build has one row, however many names match it."""
    names = ("build:plain@host", "build:plain@*", "build:p*")
    if command == "doit":
        run = doit(place, *names)
    else:
        run = subprocess.run(
            [sys.executable, "-m", "buildsys", "build", *names],
            cwd=place,
            capture_output=True,
            text=True,
            check=False,
        )
    assert run.returncode == 0, run.stderr
    rows = json.loads((place / "build" / "summary.json").read_text())["builds"]
    assert [row["id"] for row in rows] == ["plain@host"]
    assert run.stdout.count("plain@host: built") <= 1
    assert len([line for line in run.stdout.splitlines() if line.startswith("plain@host ")]) == 1


def test_a_broken_recipe_is_named_by_every_pattern_that_matches_it(
    place: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """A pattern that matches only a broken recipe is answered with its mistake, by every command."""
    write_recipe(place, "broken", "name: broken\nsurce: 1\n")
    words = [
        ["build", "bro*"],
        ["plan", "bro*"],
        ["update", "bro*"],
        ["predict", "broken", str(place / "a.jpg")],
    ]
    words += [["plan", "broken-a@host"], ["build", "broken-a"], ["verify", "broken-a@host"]]
    (place / "a.jpg").touch()
    for command in words:
        assert main(["-C", str(place), *command]) == 2
        error = capfd.readouterr().err
        assert "recipes/broken.yaml:1:1: error: " in error
        assert "cannot be built: its recipe has a mistake, see above" in error
    run = doit(place, "build:bro*@*")
    assert run.returncode == 3
    assert "`build:bro*@*` cannot be built: its recipe has a mistake, see above." in run.stderr


def test_a_list_tells_of_a_recipe_that_has_a_mistake(place: Path) -> None:
    """`doit list` reports the recipe with the error."""
    write_recipe(place, "broken", "name: broken\nsurce: 1\n")
    done = doit(place, "list")
    assert "build:plain@host" in done.stdout
    assert "recipes/broken.yaml:1:1: error: " in done.stderr


def test_a_run_keeps_its_reporter(place: Path) -> None:
    """Another reporter is refused: it would hold no lock and return other exit codes."""
    done = doit(place, "run", "--reporter", "console")
    assert done.returncode == 3
    assert "remove `--reporter console`" in done.stderr


def test_a_package_s_file_is_a_name_whether_or_not_anything_is_stale(place: Path) -> None:
    """The path of a package's file selects its build, before the first run and after it."""
    for _ in range(2):
        assert doit(place, "build/plain/host/manifest.json").returncode == 0
    assert doit(place, "info", "build/plain/host/manifest.json").returncode == 3


def test_a_missing_file_with_a_digest_is_waited_for(place: Path) -> None:
    """Requested by name, a waiting build gives exit code 10; otherwise the other builds run and the
    code is 0.
    """
    digest = "0" * 64
    write_recipe(place, "later", RECIPE.replace("model.tflite", f"absent.tflite, sha256: {digest}"))
    assert doit(place).returncode == 0
    assert statuses(place)["later@host"] == "waiting for absent.tflite"
    assert doit(place, "build:later@host").returncode == 10


def test_a_file_with_another_digest_is_refused(place: Path) -> None:
    """A file with another digest than the recipe's is an error at its line, before any step."""
    other = f"model.tflite, sha256: {'0' * 64}"
    write_recipe(place, "plain", RECIPE.replace("model.tflite", other))
    run = doit(place)
    assert run.returncode == 1
    assert "recipes/plain.yaml:2:64: error: model.tflite has a different sha256: " in run.stderr
    assert statuses(place) == {"plain": "failed at check"}


def test_a_file_that_changes_after_planning_is_refused(place: Path) -> None:
    """Plans are cached between runs; file content is checked in every run."""
    digest = hashlib.sha256(MODEL).hexdigest()
    write_recipe(place, "plain", RECIPE.replace("model.tflite", f"model.tflite, sha256: {digest}"))
    assert doit(place).returncode == 0
    (place / "model.tflite").write_bytes(OTHER)
    run = doit(place)
    assert run.returncode in (1, 2)
    assert f"the recipe says {digest}" in run.stderr or "has a different sha256" in run.stderr


def test_parallel_equals_serial(place: Path, tmp_path: Path) -> None:
    """With `-n`, the manifests have the same bytes as in a serial run."""
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
    """The bytes of each manifest, by path."""
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
    """A run with nothing to do parses no recipe and sends no request to a remote store."""
    doit(place)
    nobody = "https://127.0.0.1:1/results"
    code = (
        "import sys; from buildsys.execution.session.session import Session; from pathlib import Path;"
        " s = Session(Path('.')); s.prepare(list(s.plans)); [s.publisher.find_published(p) for p in s.plans.values()];"
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
    """A step that one recipe uses for samples and another for calibration is one task."""
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
    """Two runs in one process share no session, no options and no current folder."""
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
    """`buildsys build` refuses an unknown name, with the exit code for wrong input."""
    assert cli.main(["-C", str(place), "build", name]) == 2
    assert not (place / "build").exists()


@pytest.fixture
def ask(place: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """A function that runs a doit command in this process and returns its output."""

    def call(*arguments: str) -> str:
        capsys.readouterr()
        DoitMain(Loader(place), config_filenames=()).run(list(arguments))
        printed = capsys.readouterr()
        assert printed.err == ""
        return printed.out

    return call


def build(root: Path) -> dict[str, str]:
    """Build everything and return the statuses."""
    cli.main(["-C", str(root), "build"])
    return statuses(root)


def test_doit_shows_what_a_build_reads_and_writes(place: Path, ask: Callable[..., str]) -> None:
    """`list --status --deps` and `info` work before the first run, when up to date and after an
    edit.
    """
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
    """A changed file time makes no build stale."""
    build(place)
    (place / "model.tflite").touch()
    assert ask("list", "-s", "build:plain@host").startswith("U ")
    assert build(place) == {"plain@host": "up-to-date"}


def test_files_that_are_not_here_are_no_error_of_doit(place: Path, ask: Callable[..., str]) -> None:
    """With a missing file, `doit list --status` shows the build as a task to run."""
    write_recipe(place, "later", RECIPE.replace("model.tflite", f"no.tflite, sha256: {'0' * 64}"))
    shown = ask("list", "--status", "--deps", "build:later@host")
    assert shown.startswith("R build:later@host")
    assert " -  recipes/later.yaml\n" in shown


def test_clean_takes_the_package_away_and_a_dry_run_says_so(
    place: Path, ask: Callable[..., str]
) -> None:
    """`doit clean -n build:ID` prints the folder; `doit clean build:ID` removes it."""
    build(place)
    sentence = "build:plain@host - removing build/plain/host\n"
    assert sentence in ask("clean", "-n", "build:plain@host")
    assert (place / "build" / "plain" / "host").is_dir()
    assert sentence in ask("clean", "build:plain@host")
    assert not (place / "build" / "plain" / "host").exists()


def test_clean_says_for_whom_it_waits(place: Path) -> None:
    """`doit clean` prints at once that another run holds the workspace."""
    build(place)
    command = [sys.executable, "-m", "doit", "clean", "build:plain@host"]
    with (
        locked(place / ".buildsys" / "lock", "4711"),
        subprocess.Popen(command, cwd=place, stderr=subprocess.PIPE, text=True) as waits,
    ):
        assert waits.stderr is not None
        line = waits.stderr.readline()
        waits.kill()
    assert line == "waiting for another run in this workspace (process 4711)\n"


@pytest.mark.parametrize("arguments", [(), ("build:plain@host",), ("--all",)])
def test_after_forget_a_build_is_done_again(
    place: Path, ask: Callable[..., str], arguments: tuple[str, ...]
) -> None:
    """After `doit forget` the build is restored from the store."""
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
    """The loader adds the builds to the tasks of dodo.py, including builds that are up to date."""
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
    """A dodo.py that cannot be used is one sentence without a traceback, with exit code 3."""
    (place / "dodo.py").write_text(line)
    run = doit(place)
    assert run.returncode == 3
    assert message in run.stderr
    assert "Traceback" not in run.stderr


def test_a_dodo_of_another_release_is_one_sentence_without_the_loader_too(place: Path) -> None:
    """The same with doit's own loader, which imports dodo.py if the workspace has no doit.cfg."""
    (place / "doit.cfg").unlink()
    (place / "dodo.py").write_text("from buildsys.engine.tasks import DOIT_CONFIG, tasks\n")
    run = doit(place)
    assert run.returncode == 3
    assert run.stderr.startswith("ERROR: dodo.py belongs to another release")
    assert "run `buildsys init`" in run.stderr
    assert "Traceback" not in run.stderr


def test_without_its_loader_doit_finds_the_builds_by_dodo_py(place: Path) -> None:
    """With doit's default loader, names are checked by doit; the rest is the same."""
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
    """A run that cannot start has the exit code of buildsys, not doit's."""
    monkeypatch.setenv("BUILDSYS_STORE", str(place / "store"))
    run = doit(place)
    assert run.returncode == main(["-C", str(place), "build"]) == 1
    assert run.stderr.startswith("BUILDSYS_STORE is ")


@pytest.mark.parametrize("config", ["doit.cfg", "dodo.py"])
def test_steps_run_in_no_process_of_doit(place: Path, config: str) -> None:
    """`-P process` is refused in one sentence with either loader."""
    (place / "doit.cfg").unlink()
    text = LOADER_CONFIG if config == "doit.cfg" else (REPOSITORY / "dodo.py").read_text()
    (place / config).write_text(text)
    run = doit(place, "-n", "2", "-P", "process")
    assert run.returncode in (1, 3)
    assert "remove `-P process`" in run.stderr


def test_an_unchanged_build_beside_others_imports_no_validation_library(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run of one build that is up to date parses no recipe, even if others were never built and
    the report is compared.
    """
    monkeypatch.setenv("BUILDSYS_REPORT", "pages")
    monkeypatch.setenv("PYTHONPATH", str(REPOSITORY))
    write_recipe(place, "other")
    first = doit(place, "build:plain@host")
    assert "report: build/report/index.html" in first.stdout
    code = (
        "import sys; from doit.doit_cmd import DoitMain;"
        " code = DoitMain().run(['build:plain@host']);"
        " print(code, sorted({'pydantic', 'ruamel.yaml', 'rich'} & sys.modules.keys()))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=place, capture_output=True, text=True, check=True
    )
    assert "up-to-date" in done.stdout
    assert done.stdout.splitlines()[-1] == "0 []"
