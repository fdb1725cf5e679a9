"""Hints for paths that do not exist: the part that is missing, and names like it."""

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
