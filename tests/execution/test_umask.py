"""Files that buildsys writes have the permissions of the user's umask."""

import os
from pathlib import Path

import pytest

from buildsys.cli import main
from tests.conftest import Build


def test_packages_records_drafts_and_archives_follow_the_umask(
    workspace: Path, build: Build, capsys: pytest.CaptureFixture[str]
) -> None:
    """With umask 077, no file is readable by others."""
    before = {*workspace.rglob("*")}
    old = os.umask(0o077)
    try:
        build()
        archive = str(workspace / "results.tar")
        assert main(["-C", str(workspace), "store", "export", "*", "-o", archive]) == 0
        assert main(["-C", str(workspace), "report"]) == 0
        assert main(["-C", str(workspace), "new", "mine"]) == 0
    finally:
        os.umask(old)
    made = [path for path in workspace.rglob("*") if path not in before and not path.is_symlink()]
    names = {path.relative_to(workspace).as_posix() for path in made}
    assert names >= {
        "build/tags/xiao-esp32s3/model.tflite",
        "build/tags/xiao-esp32s3/manifest.json",
        "build/report/report.md",
        "buildsys.lock",
        "recipes/mine.yaml",
        "results.tar",
    }
    for path in made:
        mode = path.stat().st_mode & 0o777
        assert mode == (0o700 if path.is_dir() else 0o600), f"{path} {mode:o}"
    capsys.readouterr()
