"""`buildsys init` makes a workspace from only the installed package, and keeps existing files."""

from pathlib import Path

import pytest

from buildsys import cli
from buildsys.authoring.scaffold.requirement import own_requirement, requirement
from buildsys.authoring.scaffold.starters import requirements
from buildsys.registry import shipped_targets
from tests.authoring.sample_workspace import plan_good
from tests.conftest import REPOSITORY

_FILES = {
    "dodo.py",
    "doit.cfg",
    "requirements.txt",
    ".gitignore",
    "recipes/tag-finder.yaml",
    "README.md",
}


def _init(folder: Path, *words: str) -> int:
    return cli.main(["-C", str(folder), "init", *words])


def _files(folder: Path) -> dict[str, str]:
    """File contents by path, without derived files and the user's cache."""
    return {
        str(path.relative_to(folder)): path.read_text()
        for path in folder.rglob("*")
        if path.is_file() and not {".buildsys", "cache"} & {*path.parts}
    }


def test_empty_folder_becomes_a_workspace(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """`init` writes a complete workspace that can be planned."""
    root = tmp_path / "new" / "one"
    assert _init(tmp_path, "new/one") == 0
    printed = capsys.readouterr().out
    assert printed.startswith("wrote  dodo.py\n")
    assert "wrote  .buildsys/recipe.schema.json\n" in printed
    assert f"\nnext:  cd {root} && " in printed
    assert printed.endswith("doit\n")
    texts = _files(root)
    assert texts.keys() == _FILES
    assert texts["dodo.py"] == (REPOSITORY / "dodo.py").read_text()
    assert texts["requirements.txt"].splitlines()[-1] == own_requirement()
    assert {"/build/", "/.buildsys/"} <= set(texts[".gitignore"].splitlines())
    (plan,) = plan_good(root).values()
    stages = {step.stage for step in plan.steps}
    assert {"dataset", "train", "quantize", "compile", "evaluate-tflite", "gate"} <= stages
    given = {item.source.path for step in plan.steps for item in step.inputs if item.source}
    assert all(Path(path).is_relative_to(shipped_targets()) for path in given), (
        "nothing of the user's"
    )
    assert cli.main(["-C", str(root), "check"]) == 0


_COMMIT = "0f62de6c7aed069bb4b1bce691b1633f2a1ad512"
_ORIGINS = {
    "an index": (None, "buildsys==1.2"),
    "a folder": (
        '{"url": "file:///src/buildsys", "dir_info": {}}',
        "buildsys @ file:///src/buildsys",
    ),
    "an editable folder": (
        '{"url": "file:///my%20src", "dir_info": {"editable": true}}',
        "-e file:///my%20src",
    ),
    "a repository": (
        '{"url": "https://example.org/b.git", "vcs_info": {"vcs": "git", "requested_revision": "main",'
        f' "commit_id": "{_COMMIT}"}}}}',
        f"buildsys @ git+https://example.org/b.git@{_COMMIT}",
    ),
    "a folder of a repository": (
        '{"url": "ssh://git@example.org/b", "subdirectory": "py", "vcs_info": {"vcs": "git",'
        f' "commit_id": "{_COMMIT}"}}}}',
        f"buildsys @ git+ssh://git@example.org/b@{_COMMIT}#subdirectory=py",
    ),
    "a wheel": (
        '{"url": "file:///d/buildsys-1.2-py3-none-any.whl", "archive_info": {"hashes": {"sha256": "ab"}}}',
        "buildsys @ file:///d/buildsys-1.2-py3-none-any.whl#sha256=ab",
    ),
    "a note that is damaged": ('{"url": 3, "vcs_info": []}', "buildsys==1.2"),
}


@pytest.mark.parametrize("origin", _ORIGINS)
def test_requirements_install_from_where_this_copy_came_from(origin: str) -> None:
    """requirements.txt installs from the origin recorded by the installer (PEP 610)."""
    note, line = _ORIGINS[origin]
    assert requirement(note, "1.2") == line
    assert (line.count("file:") > 0) == requirements(line).startswith(
        "# buildsys from a folder of this machine"
    )


def test_a_folder_with_files_of_a_file_manager_is_empty(tmp_path: Path) -> None:
    """Files of Windows and macOS do not make a folder a repository: its README.md is written."""
    for name in ("Thumbs.db", "desktop.ini", ".DS_Store"):
        (tmp_path / name).write_text("")
    assert _init(tmp_path) == 0
    assert (tmp_path / "README.md").is_file()


def test_second_time_keeps_everything_and_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A second `init` keeps all files and prints that."""
    _init(tmp_path)
    recipe = tmp_path / "recipes" / "tag-finder.yaml"
    recipe.write_text(recipe.read_text().replace("epochs: 12", "epochs: 40"))
    (tmp_path / "README.md").unlink()
    (tmp_path / "dodo.py").unlink()
    before = _files(tmp_path)
    capsys.readouterr()
    assert _init(tmp_path) == 0
    printed = capsys.readouterr().out
    assert [line for line in printed.splitlines() if line.startswith("wrote")] == ["wrote  dodo.py"]
    assert "kept   recipes/tag-finder.yaml\n" in printed
    after = _files(tmp_path)
    assert after.pop("dodo.py")
    assert after == before


def test_an_existing_repository_gets_what_it_lacks(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """In an existing repository only missing files are added; kept files with a missing line are
    named.
    """
    (tmp_path / "recipes").mkdir()
    (tmp_path / "recipes" / "mine.yaml").write_text("name: mine\n")
    (tmp_path / ".gitignore").write_text("build/\n*.tmp\n")
    (tmp_path / "requirements.txt").write_text("numpy\n")
    (tmp_path / "dodo.py").write_text("from buildsys.engine.tasks import DOIT_CONFIG, tasks\n")
    (tmp_path / "doit.cfg").write_text("[GLOBAL]\nverbosity = 2\n")
    before = _files(tmp_path)
    assert _init(tmp_path) == 0
    printed = capsys.readouterr().out
    assert "kept   recipes/: the workspace has recipes already\n" in printed
    assert "kept   .gitignore; add the lines /.buildsys/\n" in printed
    assert f"kept   requirements.txt; add the line {own_requirement()}\n" in printed
    assert "kept   dodo.py; it imports another release of buildsys: " in printed
    assert "kept   doit.cfg; add `loader = buildsys` to its [GLOBAL]\n" in printed
    assert printed.endswith("buildsys check\n")
    assert _files(tmp_path) == before


def test_tasks_of_the_user_stay_and_doit_gets_its_loader(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Existing tasks are kept, and doit gets its loader in the right file."""
    (tmp_path / "dodo.py").write_text("def task_other():\n    return None\n")
    (tmp_path / "pyproject.toml").write_text("[project]\n")
    assert _init(tmp_path) == 0
    printed = capsys.readouterr().out
    assert "kept   dodo.py\n" in printed
    assert "wrote  doit.cfg\n" in printed
    (tmp_path / "doit.cfg").unlink()
    (tmp_path / "pyproject.toml").write_text('[tool.doit]\nloader = "buildsys"\n')
    assert _init(tmp_path) == 0
    assert not (tmp_path / "doit.cfg").exists()


@pytest.mark.parametrize("name", ["dodo.py", "recipes"])
def test_place_where_nothing_can_be_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    """An unwritable folder gives one sentence."""
    (tmp_path / name).write_text("")
    words = [name] if name == "dodo.py" else []
    assert _init(tmp_path, *words) == 2
    told = capsys.readouterr().err
    assert f"{tmp_path / name}" in told
    assert "is a file" in told or "cannot be written: " in told
