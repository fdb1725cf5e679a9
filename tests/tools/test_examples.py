"""The workspaces in examples/: their READMEs' commands print what the READMEs show."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY
from tests.docs_blocks import blocks
from tests.tools.places import shared_store

pytestmark = pytest.mark.tools

EXAMPLES = REPOSITORY / "examples"
FENCE = re.compile(r"^```(?P<kind>sh|text)\n(?P<body>.*?)^```", re.MULTILINE | re.DOTALL)
MADE = shutil.ignore_patterns("build", "data", ".*.db", ".buildsys", "buildsys.lock", "__pycache__")
"""Files that a run of an example in place leaves behind."""


def call(root: Path, code: str) -> str:
    """Run a command block; return its output without the report's path."""
    environment = {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(REPOSITORY),
        "BUILDSYS_STORE": str(shared_store()),
        "BUILDSYS_REPORT": "text",
    }
    run = subprocess.run(
        ["bash", "-e", "-c", code],
        cwd=root,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    return "".join(line for line in run.stdout.splitlines(True) if not line.startswith("report: "))


def timeless(text: str) -> str:
    """Remove times, and column widths that depend on them."""
    text = re.sub(r"\b(\d+ min )?\d+(\.\d+)? s\b", "TIME", text)
    return re.sub(r"-{2,}", "--", re.sub(r" {2,}", "  ", text))


@pytest.mark.parametrize("name", sorted(path.parent.name for path in EXAMPLES.glob("*/dodo.py")))
def test_an_example_prints_what_its_readme_shows(name: str, tmp_path: Path) -> None:
    """The READMEs show every figure but times, on every CPU; UPDATE_GOLDEN=1 updates them.

    What two of them want alike is made once, in the shared store.
    """
    root = tmp_path / "examples" / name
    shutil.copytree(EXAMPLES, root.parent, ignore=MADE)
    readme = EXAMPLES / name / "README.md"
    ours = {block.code for block in blocks([readme]) if Path(__file__).name in block.reason}
    assert ours
    text, printed = readme.read_text(encoding="utf-8"), ""
    for fence in FENCE.finditer(text):
        if fence["kind"] == "sh":
            printed = call(root, fence["body"]) if fence["body"] in ours else ""
        elif timeless(fence["body"]) != timeless(printed):
            if not os.environ.get("UPDATE_GOLDEN"):
                assert timeless(printed) == timeless(fence["body"])
            text = text.replace(fence[0], f"```text\n{printed}```")
    if os.environ.get("UPDATE_GOLDEN"):
        readme.write_text(text, encoding="utf-8")
