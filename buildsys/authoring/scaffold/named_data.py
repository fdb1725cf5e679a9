"""Reads a dataset that buildsys.yaml names, for `new`, as a recipe's build reads it."""

import os
from pathlib import Path

from buildsys.authoring.datasets.blocks import Dataset
from buildsys.authoring.datasets.class_folders import find_root, is_undivided
from buildsys.authoring.datasets.coco_guess import choose_task
from buildsys.authoring.datasets.coco_sets import find_place
from buildsys.authoring.datasets.data_yaml import NAMES
from buildsys.authoring.datasets.dataset import Data, find_data
from buildsys.authoring.datasets.folder_sets import FORMATS
from buildsys.authoring.datasets.unnamed_labels import describe_unnamed
from buildsys.authoring.recipes.assembly import Assembler
from buildsys.authoring.recipes.loader import Loader
from buildsys.authoring.syntax.scope import Scope
from buildsys.authoring.syntax.validation import parse
from buildsys.authoring.workspace import read_workspace_file
from buildsys.registry import find_step


def is_named(root: Path, given: str) -> bool:
    """Return whether buildsys.yaml has a dataset of that name, and no such path exists.

    Raises InputError.
    """
    return given in read_workspace_file(root)[0].datasets and not os.path.exists(root / given)


def read_named(loader: Loader, name: str, task: str) -> Data:
    """Return the data of a block in buildsys.yaml.

    `task`: the network's, empty if the data decides. Raises InputError at the block's wrong line.
    """
    scope = Scope(layers=(loader.named_dataset(name, Scope(layers=())),))
    block = parse(Dataset, scope.merged().get("dataset"), ("dataset",), scope.locate)
    build = Assembler(loader, scope, scope, set())
    return find_data(build, block, _task(loader, block, task) or None)


def _task(loader: Loader, block: Dataset, task: str) -> str:
    """Return the task for the labels: the one that the block's format allows, otherwise the
    requested one.
    """
    if block.generator is not None:
        step = find_step("generate", block.generator)
        return task if step is None or task in step.spec.tasks else step.spec.tasks[0]
    if block.format in FORMATS:
        return "detect"
    base = loader.workspace
    if block.url is not None:
        base = loader.datasets / (block.sha256 or "")
    if block.splits is not None and block.splits.given:
        place = find_place(block, base)
        path, label = place.root / place.splits[0][1], block.splits.given[0][1].annotations
        return choose_task(path, label, task) if os.path.isfile(path) else task
    folder = base / os.path.expanduser(block.path) if block.path else find_root(base)
    return "classify" if folder is not None and _has_classes(folder) else task


def _has_classes(folder: Path) -> bool:
    """Return whether a folder contains folders of classes: a classification dataset has no other
    sign.
    """
    if any(os.path.exists(folder / name) for name in NAMES) or describe_unnamed(folder, ""):
        return False
    return os.path.isdir(folder / "train") or is_undivided(folder)
