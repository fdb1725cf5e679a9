"""`buildsys targets` lists the targets; a wrong target name gets a suggestion."""

import json
from pathlib import Path

import pytest

from buildsys import cli
from buildsys.errors import InputError
from buildsys.execution.state.build_patterns import select, suggest, task_pattern
from buildsys.registry import shipped_targets
from tests.authoring.sample_workspace import write_target

_NAMES = {path.stem for path in shipped_targets().glob("*.yaml")}


def test_every_target_has_a_line_that_a_shell_can_read(
    workspace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Name, schemes, tasks and contract are columns without spaces; the rest is the board's label."""
    write_target(
        workspace, "mine", "label: My board\npipelines: {int8: [convert_tflite, package_files]}\n"
    )
    assert cli.main(["-C", str(workspace), "targets"]) == 0
    header, *lines = capsys.readouterr().out.splitlines()
    assert header.split() == ["NAME", "SCHEMES", "TASKS", "CONTRACT", "BOARD"]
    rows = {line.split()[0]: line.split(maxsplit=4)[1:] for line in lines}
    assert rows.keys() == _NAMES | {"mine"}
    assert rows["mine"] == ["int8", "detect,segment,classify,pose,obb", "none", "My board"]
    assert rows["xiao-esp32s3"][:3] == ["int8", "detect,pose", "unverified"]
    assert rows["grove-vision-ai-v2"][2] == "partly"
    assert rows["linux-arm64-tflite"][2] == "verified"


def test_programs_get_json(workspace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """JSON has the contract of every task, and its unverified lines."""
    assert cli.main(["-C", str(workspace), "targets", "--json"]) == 0
    rows = {row["name"]: row for row in json.loads(capsys.readouterr().out)["targets"]}
    grove = rows["grove-vision-ai-v2"]
    assert (grove["schemes"], grove["contract"]) == (["int8"], "partly")
    assert grove["firmware"][1] == {
        "task": "pose",
        "contract": "sscma-1.0-pose",
        "verified": True,
        "unverified": ["compilers"],
    }


def test_a_target_with_an_error_does_not_hide_the_others(
    workspace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A wrong target is reported at its position, in addition to the table."""
    write_target(workspace, "mine", "label: Mine\npipelines: {int8: [convert_tflit]}\n")
    assert cli.main(["-C", str(workspace), "targets"]) == 2
    told = capsys.readouterr()
    assert len(told.out.splitlines()) == 1 + len(_NAMES)
    assert "targets/mine.yaml:3:20: error: " in told.err


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("esp32", "did you mean `xiao-esp32s3`?"),
        ("raspbery-pi", "did you mean `raspberry-pi-5`?"),
        ("toaster", "`buildsys targets` lists them"),
    ],
)
def test_an_unknown_target_is_answered_alike_in_recipe_and_new(
    workspace: Path, capsys: pytest.CaptureFixture[str], name: str, hint: str
) -> None:
    """An unknown target gets the same suggestion in recipes and in `new`; without a similar name,
    the command that lists targets.
    """
    assert cli.main(["-C", str(workspace), "new", "x", "--target", name]) == 2
    assert hint in capsys.readouterr().err
    recipe = "name: x\nsource: {family: tflite, weights: {path: weights/model.tflite}}\n"
    (workspace / "recipes" / "x.yaml").write_text(f"{recipe}targets: [{name}]\n")
    assert cli.main(["-C", str(workspace), "check"]) == 2
    assert hint in capsys.readouterr().out


def test_a_build_of_a_known_recipe_is_suggested_by_its_targets() -> None:
    """For an unknown build of a known recipe, builds of that recipe are suggested."""
    builds = ["build:tags@host", "build:tags@xiao-esp32s3", "build:tag@grove-vision-ai-v2"]
    assert suggest("build:tags@esp32", builds) == "did you mean `build:tags@xiao-esp32s3`?"
    assert suggest("tags@grove-vision-ai-v2", [b.removeprefix("build:") for b in builds]) == (
        "tags has the targets host, xiao-esp32s3; add others to `targets` in its recipe"
    )
    assert suggest("build:tag@grove", builds) == "did you mean `build:tag@grove-vision-ai-v2`?"


def test_a_recipe_s_name_is_answered_with_its_builds() -> None:
    """A recipe's name is answered with its build ids, or with a pattern."""
    builds = [f"tags@{board}" for board in ("a", "b", "c", "d", "e")]
    assert (
        suggest("build:tags", [f"build:{build}" for build in builds[:2]])
        == "`build:tags` is a recipe: 'build:tags@*' is its 2 builds: build:tags@a, build:tags@b"
    )
    assert suggest("tags", [*builds, "tags-2@a"]) == "`tags` is a recipe: 'tags@*' is its 5 builds"
    varied = ["tags-96@a", "tags-96@b", "tags-128@a"]
    assert suggest("tags", varied) == (
        "`tags` is a recipe: 'tags-*@*' is its 3 builds: tags-96@a, tags-96@b, tags-128@a"
    )


def test_a_name_without_a_target_stands_for_its_builds() -> None:
    """The name of a recipe or variant selects its builds, and no other recipe's."""
    builds = ["pose1@a", "pose1@b", "pose10@a", "sizes-96@a", "sizes-128@a"]
    assert select(["pose1"], builds) == ["pose1@a", "pose1@b"]
    assert select(["build:sizes-96"], builds) == ["sizes-96@a"]
    assert task_pattern("pose1") == task_pattern("build:pose1") == "build:pose1@*"
    assert task_pattern("pose*") == "build:pose*"
    with pytest.raises(InputError) as caught:
        select(["sizes"], builds)
    assert "'sizes-*@*' is its 2 builds" in str(caught.value)
