"""The model families, as their `export_` steps declare them; no module that reads recipes or plans
names a family. What the runner knows of their tools: execution/running/durations.py, process.py.
"""

from functools import cache

from buildsys.registry import StepDefinition, find_step, get_step, kinds
from buildsys.spec import READ_AS, Family, Format

FILES = {"onnx": Format.ONNX, "tflite": Format.TFLITE}
"""Sources that are finished files: no step trains or exports them."""


@cache
def networks() -> dict[str, Family]:
    """Return the families with checkpoints by name: all that have an export step."""
    found = {name: get_step(f"export_{name}").spec.family for name in kinds("export")}
    return {name: family for name, family in found.items() if family is not None}


def network(name: str) -> Family | None:
    """Return a family's declaration; None for finished files."""
    return networks().get(name)


def holds_objects(name: str) -> bool:
    """Return whether a checkpoint may contain networks as objects: of such a family, or an unknown
    one.
    """
    found = network(name)
    return found is None or found.holds_objects


def checkpoint_suffixes() -> tuple[str, ...]:
    """Return the endings of all checkpoints: ".pt", ".pth"."""
    return tuple({suffix for family in networks().values() for suffix in family.suffixes})


def trained_names() -> tuple[str, ...]:
    """Return the families whose networks buildsys trains."""
    return tuple(name for name in sorted(networks()) if find_step("train", name) is not None)


def source_names() -> tuple[str, ...]:
    """Return the possible values of `source.family`."""
    return (*sorted(networks()), *FILES)


def source_format(name: str) -> Format:
    """Return the format of a family's source."""
    return FILES.get(name, Format.CHECKPOINT)


@cache
def decoders() -> dict[str, str]:
    """Return {word of `source.decoder`: head}."""
    found = {word: head for family in networks().values() for word, head in family.decoders}
    return found | {"none": "none"}


def step_for(verb: str, form: str, family: str) -> StepDefinition | None:
    """Return the step that does `verb` to a model file; for a checkpoint, its family's step."""
    return find_step(verb, family if form == Format.CHECKPOINT else READ_AS.get(form, form))


def families_of(suffix: str) -> tuple[str, ...]:
    """Return the families whose files have an ending: ".pt", ".onnx"."""
    found = [name for name, family in networks().items() if suffix in family.suffixes]
    return tuple(found) or tuple(name for name in FILES if suffix == f".{name}")


def decoded_by(head: str) -> str:
    """Return the family with this head for messages: "yolov8", "yolox"."""
    return next((word.split("-")[0] for word, known in decoders().items() if known == head), head)
