"""Hints for paths that do not exist: the part that is missing, and names like it."""

import shutil
from pathlib import Path

import pytest

from buildsys.authoring.syntax.workspace_paths import hint_missing
from buildsys.cli import main

FROM_ROOT = "the path is relative to the workspace root"


@pytest.mark.parametrize(
    ("written", "hint"),
    [
        ("data/tags/dat.yaml", "there is no `dat.yaml` in `data/tags`; did you mean `data.yaml`?"),
        ("data/tag/data.yaml", "there is no `tag` in `data`; did you mean `tags`?"),
        ("./data//tags/image/val", "there is no `image` in `data/tags`; did you mean `images`?"),
        ("dat/tags/data.yaml", f"{FROM_ROOT}; did you mean `data`?"),
        ("data/tags/data.yaml/more", "`data/tags/data.yaml` is not a directory"),
        ("missing.yaml", f"{FROM_ROOT}; there are: data, recipes, weights"),
    ],
)
def test_the_first_missing_part_is_named(workspace: Path, written: str, hint: str) -> None:
    """The hint names the first part that does not exist, and what exists in its place."""
    assert hint_missing(workspace / written, written).startswith(hint)


@pytest.mark.parametrize(
    ("option", "name"), [("--data", "data/tag/data.yaml"), ("--from", "weights/tag.pt")]
)
def test_new_names_the_missing_part(
    workspace: Path, option: str, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """`new` has the same hint for its data and its weights."""
    assert main(["-C", str(workspace), "new", "mine", option, name]) == 2
    part = "tag" if option == "--data" else "tag.pt"
    shown = f"there is no `{part}` in `{name.partition('/')[0]}`; did you mean `tags"
    assert shown in capsys.readouterr().err


@pytest.mark.parametrize("form", ["{}", "./{}"])
def test_weights_of_a_package_are_a_warning(
    workspace: Path, form: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """`new` and `check` advise to copy weights out of build/, which may be deleted."""
    name = "build/tags/checkpoint/tags.pt"
    (workspace / name).parent.mkdir(parents=True)
    shutil.copy(workspace / "weights" / "tags.pt", workspace / name)
    shown = "is in build/, which can be deleted at any time; this build then waits for it"
    hint = "help: copy it to weights/, and write {path: weights/tags.pt, …}"
    command = ["-C", str(workspace), "new", "again", "--from", form.format(name)]
    assert main([*command, "--target", "checkpoint"]) == 0
    out = capsys.readouterr().out
    assert f"warning: {name} {shown}" in out
    assert hint in out
    recipe = workspace / "recipes" / "again.yaml"
    recipe.write_text(recipe.read_text().replace(name, form.format(name)))
    assert main(["-C", str(workspace), "check"]) == 0
    assert f"warning: {form.format(name)} {shown}" in capsys.readouterr().out
    assert main(["-C", str(workspace), "new", "other", "--from", "weights/tags.pt"]) == 0
    assert shown not in capsys.readouterr().out
