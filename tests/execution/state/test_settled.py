"""`buildsys build` without stale builds imports nothing and misses no change."""

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from buildsys.cli import main
from buildsys.digest import digest_bytes
from buildsys.execution.places import Workspace
from buildsys.execution.session.session import Session
from buildsys.execution.state.settled import is_whole, settled_recipes
from buildsys.report import stamp, writing
from tests.conftest import REPOSITORY, StandIn, no_environment

Capture = pytest.CaptureFixture[str]


@pytest.fixture
def settled(workspace: Path, built: None, tools: StandIn) -> Path:
    """A workspace in which everything is up to date, although it was built elsewhere."""
    time.sleep(0.06)  # files written just now are read again
    session = Session(workspace, tools, no_environment)
    rows = session.build(list(session.plans))
    writing.finish_run(session, rows)
    session.close()
    assert is_whole(Workspace(workspace), settled_recipes(Workspace(workspace)))
    return workspace


def test_a_wrong_name_has_one_answer(settled: Path, capfd: Capture) -> None:
    """An unknown name is answered alike whether or not something is stale."""
    answers = []
    for _ in range(2):
        assert main(["-C", str(settled), "build", "tgas"]) == 2
        answers.append(capfd.readouterr().err)
        (settled / "recipes" / "tags.yaml").touch()
    assert answers[0] == answers[1]
    assert "`tgas` matches no build; did you mean `tags@*`?" in answers[0]


@pytest.mark.slow
def test_a_run_without_work_loads_nothing(settled: Path, capsys: Capture) -> None:
    """A run without work imports neither doit nor the validation library, and opens no database."""
    code = (
        "import sys; from buildsys.cli import main; main(['-C', sys.argv[1], 'build']);"
        "print(sorted({'doit', 'obstore', 'pydantic', 'ruamel', 'sqlite3', 'rich'} & sys.modules.keys()))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(settled)],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "BUILDSYS_REMOTE": "https://127.0.0.1:1/results"},
    )
    assert done.stdout.splitlines()[-1] == "[]"
    assert done.stdout.count("up-to-date") == 2
    rows = json.loads((settled / "build" / "summary.json").read_text())["builds"]
    assert [row["status"] for row in rows] == ["up-to-date", "up-to-date"]


def test_builds_without_work_show_their_figures(
    settled: Path, tools: StandIn, capsys: Capture
) -> None:
    """File, size, memory and accuracy of builds without work are in the table and the summary,
    whatever starts the run; rows made in the handler of a signal have them too.
    """
    workspace = Workspace(settled)
    session = Session(settled, tools, no_environment)
    expected = session.build(list(session.plans))
    session.close()
    assert all(row.file and row.bytes and row.metrics for row in expected)
    session = Session(settled, settled=settled_recipes(workspace))
    assert session.plans == {}
    assert list(session.labels) == [row.id for row in expected]
    session.interrupted = True
    assert session.rows([row.id for row in expected]) == expected
    session.close()
    assert main(["-C", str(settled), "build"]) == 0
    row = next(line for line in capsys.readouterr().out.splitlines() if "xiao-esp32s3" in line)
    assert row.split()[:3] == ["tags@xiao-esp32s3", "up-to-date", "model.tflite"]
    assert float(row.split()[-1]) == dict(expected[-1].metrics)["box.mAP50-95"]
    summary = json.loads((settled / "build" / "summary.json").read_text())["builds"]
    assert [one["id"] for one in summary] == [row.id for row in expected]
    assert [one["metrics"] for one in summary] == [dict(one.metrics) for one in expected]


def test_the_order_of_rows_is_the_same_without_work(settled: Path, tools: StandIn) -> None:
    """Rows are ordered by id, whatever the order of a recipe's targets."""
    recipe = settled / "recipes" / "tags.yaml"
    lines = ("  - grove-vision-ai-v2\n", "  - xiao-esp32s3\n")
    text = recipe.read_text()
    assert "".join(lines) in text
    recipe.write_text(text.replace("".join(lines), "".join(reversed(lines))))
    time.sleep(0.06)
    session = Session(settled, tools, no_environment)
    ids = [row.id for row in session.build(list(session.plans))]
    session.close()
    assert ids == sorted(ids)
    session = Session(settled, settled=settled_recipes(Workspace(settled)))
    session.close()
    assert session.plans == {}
    assert list(session.labels) == ids
    assert main(["-C", str(settled), "build"]) == 0
    summary = json.loads((settled / "build" / "summary.json").read_text())["builds"]
    assert [one["id"] for one in summary] == ids


def test_a_name_that_nothing_has_is_reported_without_work_too(
    settled: Path, capsys: Capture
) -> None:
    """An unknown name is an error, even if everything is up to date."""
    assert main(["-C", str(settled), "build", "tasg@xiao-esp32s3"]) == 2
    assert "did you mean `tags@xiao-esp32s3`?" in capsys.readouterr().err
    assert main(["-C", str(settled), "build", "*@xiao*"]) == 0


def _append(name: str) -> Callable[[Path], None]:
    def apply(root: Path) -> None:
        path = root / name
        path.write_bytes(path.read_bytes() + b"\n")

    return apply


def _same_size_and_time(root: Path) -> None:
    """A change that keeps size and time."""
    path = root / "tags" / "images" / "train" / "0.jpg"
    stat = path.stat()
    path.write_bytes(path.read_bytes().replace(b"train 0", b"train O"))
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))


def _new_recipe(root: Path) -> None:
    text = (root / "recipes" / "tags.yaml").read_text()
    (root / "recipes" / "more.yaml").write_text(text.replace("name: tags", "name: more"))


def _new_picture(root: Path) -> None:
    (root / "tags" / "images" / "train" / "new.jpg").write_bytes(b"new")


def _workspace_file(root: Path) -> None:
    (root / "buildsys.yaml").write_text("{}\n")


CHANGES: dict[str, Callable[[Path], None]] = {
    "a recipe": _append("recipes/tags.yaml"),
    "the weights": _append("start.bin"),
    "a label": _append("tags/labels/train/0.txt"),
    "a picture of the same size and time": _same_size_and_time,
    "a new picture": _new_picture,
    "a picture is gone": lambda root: (root / "tags/images/val/0.jpg").unlink(),
    "data.yaml": _append("tags/data.yaml"),
    "a shipped file, edited by hand": _append("build/tags/xiao-esp32s3/model.tflite"),
    "a shipped file is gone": lambda root: (
        root / "build/tags/xiao-esp32s3/manifest.json"
    ).unlink(),
    "the build folder is gone": lambda root: shutil.rmtree(root / "build"),
    "a new recipe": _new_recipe,
    "a workspace's own target": lambda root: (root / "targets").mkdir(),
    "buildsys.yaml": _workspace_file,
    "buildsys.lock": _append("buildsys.lock"),
    "buildsys.lock is gone": lambda root: (root / "buildsys.lock").unlink(),
}


@pytest.mark.parametrize("change", CHANGES)
def test_any_change_is_looked_at(settled: Path, change: str) -> None:
    """Every kind of change is noticed."""
    CHANGES[change](settled)
    workspace = Workspace(settled)
    assert not is_whole(workspace, settled_recipes(workspace))


def _no_report(root: Path) -> None:
    (root / "build" / "report" / "report.md").unlink()


def _baselines(root: Path) -> None:
    (root / "baselines.json").write_text("{}")


@pytest.mark.slow
@pytest.mark.parametrize("change", [_no_report, _baselines])
def test_a_report_that_is_gone_is_written_in_a_run_without_work(
    settled: Path, change: Callable[[Path], None]
) -> None:
    """A missing or outdated report is written in a run without work."""
    builds = ["tags@grove-vision-ai-v2", "tags@xiao-esp32s3"]
    assert stamp.is_current(Workspace(settled), builds)
    change(settled)
    assert not stamp.is_current(Workspace(settled), builds)
    subprocess.run(
        [sys.executable, "-m", "buildsys", "-C", str(settled), "build"],
        check=True,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
    )
    assert (settled / "build" / "report" / "report.md").is_file()
    assert stamp.is_current(Workspace(settled), builds)


def test_a_damaged_cache_counts_as_empty(settled: Path) -> None:
    """A damaged cache counts as empty, and every recipe is read again."""
    path, workspace = settled / ".buildsys" / "settled.json", Workspace(settled)
    whole = path.read_bytes()
    text = whole.splitlines()[1].decode()
    flipped = bytearray(whole)
    flipped[len(whole) // 2] ^= 1
    damaged = [
        b"",
        b"{",
        b"[]",
        b"[" * 100_000,
        whole[:-1],
        bytes(flipped),
        *map(_signed, ("", "1")),
    ]
    for old, new in (
        ('"format":2', '"format":3'),
        ('"value":[{', '"value":[{"x":3,'),
        ('"trees":[', '"trees":[[[],""],'),
        ('"files":{', '"files":{"/":3,'),
    ):
        assert old in text
        damaged.append(_signed(text.replace(old, new)))
    for data in damaged:
        path.write_bytes(data)
        assert settled_recipes(workspace) == {}
    path.unlink()
    os.mkfifo(path)
    assert settled_recipes(workspace) == {}
    path.unlink()
    path.write_bytes(_signed(text))
    assert settled_recipes(workspace).keys() == {"tags"}


def _signed(text: str) -> bytes:
    """A record with the digest of its content."""
    return f"{digest_bytes(text.encode())}\n{text}\n".encode()


def test_one_stale_recipe_leaves_the_others_alone(
    settled: Path, tools: StandIn, capsys: Capture
) -> None:
    """With one stale recipe, the others are not planned again."""
    _new_recipe(settled)
    workspace = Workspace(settled)
    known = settled_recipes(workspace)
    session = Session(settled, tools, no_environment, settled=known)
    assert list(known) == ["tags"]
    assert {plan.recipe for plan in session.loaded.plans} == {"more"}
    rows = session.build(list(session.plans))
    session.close()
    assert [row.status for row in rows] == ["built", "built"]
    time.sleep(0.06)
    session = Session(settled, tools, no_environment, settled=settled_recipes(workspace))
    session.build(list(session.plans))
    session.close()
    assert set(settled_recipes(workspace)) == {"more", "tags"}
