"""The table of docs/concepts/staleness.md: for each single change, the exact steps that run again."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from buildsys.execution.state import code_digest
from buildsys.execution.tools import definitions
from tests.checkpoints import checkpoint_of
from tests.conftest import Build, StandIn, copy_package, forget_code

# All targets share the file whose output order is not yet bound; each has its own published file.
COMPILED = ("compile_vela", "check_operators", "fit_memory", "load_firmware", "package_flash")
PER_TARGET = (
    "check_contract",
    "bind_outputs",
    "evaluate_tflite",
    "record_tflite",
    "record_tflm",
    "compare_recordings",
    "check_operators",
    "fit_memory",
    "gate",
    "draw_models",
    "package_flash",
)
AFTER_QUANTIZATION = (
    "examine_tflite",
    *PER_TARGET,
    *PER_TARGET,
    "compile_vela",
    "load_firmware",
)
AFTER_PICTURES = ("convert_tflite", *AFTER_QUANTIZATION)
AFTER_TRAINING = (
    "evaluate_ultralytics",
    "export_ultralytics",
    "evaluate_onnx",
    "convert_onnx2tf",
    "record_ultralytics",
    "record_onnx",
    "record_tflite",
    *AFTER_PICTURES,
)
AFTER_CONVERTING = ("record_tflite", *AFTER_PICTURES)
PICTURES = ("prepare_pictures", "prepare_pictures", "prepare_pictures", "check_overlap")
ALL = ("prepare_dataset", "train_ultralytics", *PICTURES, *AFTER_TRAINING)


def edit(name: str, old: str, new: str) -> Callable[[Path], None]:
    """A change of one place in one file of the workspace."""

    def apply(root: Path) -> None:
        path = root / name
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new, 1))

    return apply


def entry(options: str) -> Callable[[Path], None]:
    """An override only for the Grove build."""
    return edit(
        "recipes/tags.yaml", "- grove-vision-ai-v2", f"- {{target: grove-vision-ai-v2, {options}}}"
    )


def change_weights(root: Path) -> None:
    """Change the start weights, and their digest in the recipe."""
    import hashlib

    (root / "start.bin").write_bytes(checkpoint_of("other"))
    old, new = (hashlib.sha256(checkpoint_of(x)).hexdigest() for x in ("weights", "other"))
    edit("recipes/tags.yaml", old, new)(root)


def touch_everything(root: Path) -> None:
    """Change every file's time, keep its content."""
    import os

    for path in root.rglob("*"):
        if path.is_file() and ".buildsys" not in path.parts and "build" not in path.parts:
            os.utime(path, ns=(1, 1))


RECIPE_FILE = "recipes/tags.yaml"
CHANGES: dict[str, tuple[Callable[[Path], None], tuple[str, ...]]] = {
    "nothing": (lambda root: None, ()),
    "a comment": (edit(RECIPE_FILE, "input:", "# a comment\ninput:"), ()),
    "key order and whitespace": (
        edit(RECIPE_FILE, "{epochs: 2, batch: 4,", "{batch:   4, epochs: 2,"),
        (),
    ),
    "touch": (touch_everything, ()),
    "train.epochs": (
        edit(RECIPE_FILE, "epochs: 2", "epochs: 3"),
        ("train_ultralytics", *AFTER_TRAINING),
    ),
    "calibration seed": (
        edit(RECIPE_FILE, "count: 3, seed: 0", "count: 3, seed: 1"),
        ("prepare_pictures", "check_overlap", *AFTER_PICTURES),
    ),
    "calibration count": (
        edit(RECIPE_FILE, "count: 3", "count: 5"),
        ("prepare_pictures", "check_overlap", *AFTER_PICTURES),
    ),
    "the converter": (
        edit(RECIPE_FILE, "evaluate:", "convert: {tool: onnx-tf}\nevaluate:"),
        ("convert_onnx_tf", *AFTER_CONVERTING),
    ),
    "granularity": (edit(RECIPE_FILE, "per-tensor", "per-channel"), AFTER_PICTURES),
    "Vela version": (entry('vela: {version: "5.2"}'), COMPILED),
    "memory mode": (
        entry(
            "vela: {config: null, system_config: Ethos_U55_High_End_Embedded, memory_mode: Shared_Sram}"
        ),
        COMPILED,
    ),
    "a gate's threshold": (
        edit(RECIPE_FILE, "min: 0.1", "min: 0.2"),
        ("gate", "gate"),
    ),
    "one byte of one image": (
        edit("tags/images/train/0.jpg", "train 0", "train O"),
        ("prepare_dataset", "train_ultralytics", *PICTURES, *AFTER_TRAINING),
    ),
    "one label": (
        edit("tags/labels/train/0.txt", ".5 .5 .2", ".5 .5 .3"),
        ("prepare_dataset", "train_ultralytics", *PICTURES, *AFTER_TRAINING),
    ),
    "the weights": (change_weights, ("train_ultralytics", *AFTER_TRAINING)),
}


@pytest.mark.usefixtures("built")
@pytest.mark.parametrize("change", CHANGES)
def test_a_change_runs_exactly_what_depends_on_it(
    change: str, workspace: Path, build: Build, tools: StandIn
) -> None:
    """Each change runs the steps in the table, no fewer and no more."""
    assert sorted(tools.ran) == sorted(ALL)
    assert build() == [], "what is known of files by their places is known again"
    apply, expected = CHANGES[change]
    apply(workspace)
    assert sorted(build()) == sorted(expected)
    assert build() == [], "a second run must do nothing"


READ_A_TFLITE_FILE = (
    "examine_tflite",
    "record_tflite",
    *2
    * (
        "evaluate_tflite",
        "draw_models",
        "check_contract",
        "bind_outputs",
        "record_tflite",
        "record_tflm",
        "check_operators",
        "package_flash",
    ),
)
# The stand-in's bytes do not depend on the code, so later steps are up to date (early cutoff).
CODE_CHANGES = {
    "a comment in a step's code": (
        "steps/compile_vela.py",
        "    done = subp",
        "    # why\n    done = subp",
        (),
    ),
    "a step's code": ("steps/compile_vela.py", '"--optimise"', '"--optimize"', ("compile_vela",)),
    "a word of the vocabulary that no step uses": (
        "spec.py",
        "STRIDES = ",
        "NEW = 1\nSTRIDES = ",
        (),
    ),
    "the planning side of a step": (
        "steps/compile_vela.py",
        '"""Return the options that the target declares."""',
        "assert board",
        (),
    ),
    "the code of a helper that steps share": (
        "steps/lib/files/tflite.py",
        "tuple(sorted(counts.items()))",
        "tuple(counts.items())",
        READ_A_TFLITE_FILE,
    ),
    "a lock": ("envs/vela-4.5/lock.txt", "numpy==2.4.6", "numpy==2.4.7", ("compile_vela",)),
}


@pytest.mark.parametrize("change", CODE_CHANGES)
def test_our_own_changes_count_by_meaning(
    change: str, workspace: Path, build: Build, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A changed comment in our code makes no step stale; changed code does."""
    package = copy_package(tmp_path / "package" / "buildsys")
    monkeypatch.setattr(code_digest, "PACKAGE", package)
    monkeypatch.setattr(definitions, "ENVS", package / "envs")
    forget_code()
    definitions.tool_env.cache_clear()
    build()
    name, old, new, expected = CODE_CHANGES[change]
    edit(name, old, new)(package)
    forget_code()
    definitions.tool_env.cache_clear()
    shutil.rmtree(workspace / ".buildsys" / "plans", ignore_errors=True)
    assert sorted(build()) == sorted(expected)
    forget_code()
    definitions.tool_env.cache_clear()


@pytest.mark.usefixtures("built")
def test_two_targets_share_one_training_and_one_export(tools: StandIn) -> None:
    """A step that two builds need runs once."""
    ran = tools.ran
    shared = ("train_ultralytics", "export_ultralytics", "convert_onnx2tf", "convert_tflite")
    for module in (*shared, "evaluate_onnx"):
        assert ran.count(module) == 1
    assert ran.count("package_flash") == 2
