"""The files that `buildsys init` writes into an empty folder, by name."""

import re
from pathlib import Path

from buildsys.authoring.scaffold.requirement import is_of_this_machine, own_requirement

RECIPE_NAME = "tag-finder"

DODO = '''\
"""Tasks of your own go here, beside the builds that buildsys' loader adds to doit's tasks.

doit.cfg or pyproject.toml names that loader. Without it, `doit` finds the builds by the line below.
"""

from buildsys.doit.loader import dodo

DOIT_CONFIG, task_builds = dodo()
'''

LOADER_FILE = "doit.cfg"
LOADER_CONFIG = """\
# doit's loader: every build of recipes/ is a task, `build:RECIPE@TARGET`
[GLOBAL]
loader = buildsys
"""

RECIPE = f"""\
# yaml-language-server: $schema=../.buildsys/recipe.schema.json
#
# A first recipe: everything it needs is made here, so that `doit` shows the whole way within minutes:
# images, training, export, int8, the board's compiler, accuracy after each conversion, a package.
# The network is a toy: it trains for half a minute, on drawn tags only. The steps are the real ones.
#
# What to change first, to make it yours:
#   1. `dataset`: your own images. `{{path: data/my/data.yaml}}` names a data.yaml of Ultralytics' kind
#   2. `weights`: a network that was trained before. `{{path: weights/best.pt, sha256: …}}`
#      (`buildsys pin` writes the digest)
#   3. `train`: more epochs, without `learning_rate`; or remove the block to use trained weights as they are
#   4. `input`: a larger size, 192 for example
#   5. `targets`: your board
# `buildsys new NAME --from weights/best.pt --data data/my/data.yaml` writes such a recipe for you.
name: {RECIPE_NAME}                    # the file's name
source:
  family: ultralytics
  task: detect                      # boxes with classes; `pose` adds keypoints
  architecture: yolov8n
  weights: random                   # it starts from nothing: fine for a first look, poor for real images
# QR codes and ArUco markers, drawn here:
dataset: {{generator: fiducials, train: 120, val: 40, size: 64, min_side: 28, max_side: 60}}
input: {{size: 64}}                   # pixels; smaller is faster on the board and less accurate
train: {{epochs: 12, batch: 8, learning_rate: 0.004, seed: 0}}   # real images need ten times as many epochs
quantization:
  scheme: int8                      # what the board's NPU computes with
  granularity: per-tensor
  calibration: {{split: train, count: 50, seed: 0}}   # images that show the value ranges to int8
evaluate:
  split: val
  gates:                            # a build that misses a gate ships nothing
    box.mAP50-95: {{max_drop: 0.05}}  # what int8 may cost; add `min` once you know what to expect
targets:
  - grove-vision-ai-v2              # also shipped: xiao-esp32s3, ethos-u55-128-high-end, host
"""

GITIGNORE = """\
/build/
/.buildsys/
/.venv/
__pycache__/
"""

README = """\
# Vision models for edge hardware

Recipes in `recipes/` say what to build; buildsys builds it.

```sh
pip install -r requirements.txt
buildsys check    # find the mistakes in all recipes, without building
doit              # build everything that is stale; packages are in build/<recipe>/<target>/
```
"""


def names_loader(root: Path) -> bool:
    """Return whether doit finds our loader: in doit.cfg, or in [tool.doit] of pyproject.toml."""
    for name in (LOADER_FILE, "pyproject.toml"):
        try:
            text = (root / name).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError):
            continue
        if re.search(r'^\s*loader\s*=\s*["\']?buildsys["\']?\s*(#.*)?$', text, re.MULTILINE):
            return True
    return False


def requirements(line: str) -> str:
    """Return requirements.txt; `line` installs buildsys."""
    note = "# buildsys from a folder of this machine: on other machines, write where to install it from\n"
    return f"{note if is_of_this_machine(line) else ''}{line}\n"


def starter_files() -> dict[str, str]:
    """Return texts by path from the workspace's root, recipe and README included."""
    return {
        "dodo.py": DODO,
        LOADER_FILE: LOADER_CONFIG,
        "requirements.txt": requirements(own_requirement()),
        ".gitignore": GITIGNORE,
        f"recipes/{RECIPE_NAME}.yaml": RECIPE,
        "README.md": README,
    }
