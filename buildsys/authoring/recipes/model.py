"""The network and the board of one build, as values for the steps."""

from functools import cache, lru_cache
from typing import Protocol

from buildsys.authoring.recipes.build import Build
from buildsys.authoring.recipes.families import decoders, network
from buildsys.authoring.recipes.given_file import GivenFile
from buildsys.authoring.recipes.recipe import CALIBRATED
from buildsys.authoring.targets.contract import Contract, contract_spec
from buildsys.authoring.targets.slots import flash_spec, slot_spec
from buildsys.registry import find_step
from buildsys.spec import (
    STRIDES,
    BoardSpec,
    CheckpointFacts,
    ModelSpec,
    Preprocessing,
    Quantization,
    TensorSpec,
)
from buildsys.steps import build_engine
from buildsys.steps.check_operators import EVERY
from buildsys.steps.lib.files.edge import settled_sides
from buildsys.steps.lib.heads.branches import of_branch
from buildsys.steps.lib.heads.formulas import find_strides
from buildsys.steps.lib.heads.output_names import assign
from buildsys.steps.lib.heads.outputs import head_outputs

_head_outputs = cache(head_outputs)
"""Outputs by head: evaluating formulas is slow, and all builds of a recipe have the same."""

INT8_OPSET = 13
"""The least opset that `quantize_onnx` takes for int8: it has scales per channel."""


class KnownModel(Protocol):
    """Facts about a network, or about the data that it is trained on: classes and keypoints."""

    @property
    def names(self) -> tuple[str, ...]: ...
    @property
    def keypoints(self) -> int: ...
    @property
    def keypoint_dims(self) -> int: ...


def known_model(build: Build) -> KnownModel | None:
    """Return the classes and keypoints, from the data or the checkpoint; None if neither exists."""
    recipe, facts, found = build.recipe, build.dataset, build.checkpoint
    source = recipe.source
    if network(source.family) is None:
        return _of_file(build)
    found = found if found is not None and found.names else None  # the others name no classes
    known: KnownModel | None = (
        facts if facts is not None and (recipe.train is not None or found is None) else found
    )
    beginning = find_step("initialize", source.family)
    expect = beginning.spec.facts if beginning is not None else None
    if known is None and source.weights.random and expect is not None:
        known = expect(source.task or "")
    return known


def _of_file(build: Build) -> KnownModel | None:
    """Return the facts of a finished file: from the recipe, otherwise the file itself, otherwise
    the labels.
    """
    source, stated, facts = build.recipe.source, build.checkpoint, build.dataset
    points = stated or facts
    names = source.classes or (points.names if points is not None else ())
    if not names:
        return None
    return CheckpointFacts(
        task=source.task or "",
        names=names,
        keypoints=points.keypoints if points is not None else 0,
        keypoint_dims=points.keypoint_dims if points is not None else 0,
    )


@lru_cache(maxsize=256)  # as many builds as a recipe usually has
def model_spec(build: Build) -> ModelSpec:
    """Return the facts about the network before it exists."""
    recipe, known = build.recipe, known_model(build)
    source = recipe.source
    classes = known.names if known is not None else source.classes
    keypoints, dims = (known.keypoints, known.keypoint_dims) if known is not None else (0, 0)
    if source.task != "pose":
        keypoints, dims = 0, 0
    frame = None
    if recipe.input is not None:
        height, width = recipe.input.size
        frame = Preprocessing(
            height=height, width=width, color=recipe.input.color, resize=_resize(build)
        )
    head = _head(build)
    outputs: tuple[TensorSpec, ...] = ()
    if frame is not None and head != "none" and classes:
        size, count, task = (frame.height, frame.width), len(classes), source.task or ""
        outputs = _head_outputs(head, *size, count, keypoints, dims, task, strides(build))
        outputs = _in_file_order(outputs, build)
    return ModelSpec(
        name=build.id.split("@")[0],
        family=source.family,
        task=source.task or "",
        architecture=source.architecture or "",
        classes=tuple(classes),
        keypoints=keypoints,
        keypoint_dims=dims,
        preprocessing=frame,
        head=head,
        outputs=outputs,
        quantization=_quantization(build),
        trained=recipe.train is not None or not source.weights.random,
        converter=recipe.convert.tool,
        batch=build.batch,
    )


def describe_outputs(build: Build) -> str:
    """Return the advice on what is missing to decode a network's outputs."""
    if build.given is not None and build.given.suppresses:
        return "export the file again with nms=False"  # no decoder reads what NMS gives
    model = model_spec(build)
    missing = {
        "`input`": model.preprocessing is None,
        "`source.decoder`, other than `none`": model.head == "none",
        "`source.classes`": not model.classes,
    }
    return f"write {' and '.join(key for key, is_missing in missing.items() if is_missing)}"


def assign_outputs(
    outputs: tuple[TensorSpec, ...], file: GivenFile
) -> tuple[TensorSpec, ...] | None:
    """Return a head's outputs in the order of a file; None if the file has others."""
    known = {tensor.name: tensor for tensor in outputs}
    found = [(edge.name, edge.shape) for edge in file.outputs]
    names = assign({tensor.name: tensor.shape for tensor in outputs}, found)
    return None if names is None else tuple(known[name] for name in names)


def _in_file_order(outputs: tuple[TensorSpec, ...], build: Build) -> tuple[TensorSpec, ...]:
    """Return the outputs in the order of a given file: where the file has other names, steps find
    its outputs by position.
    """
    found = assign_outputs(outputs, build.given) if build.given is not None else None
    return found or outputs


def strides(build: Build) -> tuple[int, ...]:
    """Return the strides of the network, by the architecture in the recipe or else the
    checkpoint.
    """
    family = network(build.recipe.source.family)
    if family is None:
        return _strides_of_file(build)
    return family.strides(build.architecture)


def _strides_of_file(build: Build) -> tuple[int, ...]:
    """Return the strides by the number of cells in the outputs of a finished file that is here."""
    given, block = build.given, build.recipe.input
    if given is None or block is None:
        return STRIDES
    return find_strides(settled_sides(given.outputs), (), *block.size)


def _resize(build: Build) -> str:
    """Return the recipe's value; otherwise Ultralytics' preparation of images for such a
    network.
    """
    block = build.recipe.input
    if block is not None and block.resize is not None:
        return block.resize
    return "center-crop" if build.recipe.source.task == "classify" else "letterbox"


def _head(build: Build) -> str:
    """Return the head of the network.

    For a finished file, the one in the recipe; otherwise the firmware contract's; otherwise
    `export.head`; otherwise the network's first head, which survives int8. With two branches,
    `export.branch` decides; otherwise the firmware's decoder, which suppresses; otherwise the
    network.
    """
    family = network(build.recipe.source.family)
    declared = decoders()[build.recipe.source.decoder]
    if family is None and declared != "none":
        return declared
    stated = build.contract.head if build.contract is not None else None
    if family is None:
        return stated or declared
    heads, branches = family.heads_for(build.architecture), family.branches_of(build.architecture)
    head = stated or heads.get(build.asked_head, next(iter(heads.values()), "none"))
    if len(branches) == 1 or (stated is not None and not build.asked_branch):
        return head
    return of_branch(head, build.asked_branch or branches[0])


def _quantization(build: Build) -> Quantization:
    """Return the number formats; only int8 has a choice of dtypes at inputs and outputs."""
    block = build.recipe.quantization
    wanted = block.io or (build.contract.io if build.contract else "int8")
    return Quantization(
        scheme=block.scheme,
        granularity=block.granularity or "per-channel",
        io=wanted if block.scheme == "int8" else "float32",
        unquantized=_unquantized(build) if block.scheme == "int8" else "float32",
    )


def _unquantized(build: Build) -> str:
    """Return float16 for engines, for tensor cores; ONNX Runtime on a CPU has few kernels for
    it.
    """
    wanted = build.recipe.quantization.unquantized
    return wanted or ("float32" if build.tensorrt is None else "float16")


def on_reference_kernels(build: Build) -> bool:
    """Return whether TFLite's reference kernels compute like those of the integer file's runtime.

    TFLite Micro computes the same bit for bit. LiteRT, on a Linux board as here, has other kernels
    (XNNPACK), which round differently.
    """
    return build.recipe.quantization.scheme in CALIBRATED and runs_on_micro(build)


def least_opset(build: Build) -> int:
    """Return the least opset of the ONNX file that the pipeline takes; 0 without a limit of its own.

    With `int8: calibrator` TensorRT finds the scales, and any file will do.
    """
    pipeline = build.target.pipelines.get(build.recipe.quantization.scheme, ())
    by_device = build.tensorrt is not None and build.tensorrt.int8 == "calibrator"
    int8 = build.recipe.quantization.scheme == "int8"
    return INT8_OPSET if int8 and "quantize_onnx" in pipeline and not by_device else 0


def runs_on_micro(build: Build) -> bool:
    """Return whether TFLite Micro finally runs the file, on the CPU or around an NPU's operator.

    A contract of LiteRT's registers every builtin operator; any other is a microcontroller's.
    """
    target, contract = build.target, build.contract
    own = contract is not None and EVERY not in contract.operators
    return target.vela is not None or target.flash is not None or own


def board_spec(build: Build) -> BoardSpec:
    """Return what the target and its firmware contract declare, as far as steps need it."""
    contract = build.contract
    slot = contract.slot if contract else None
    return BoardSpec(
        name=build.target.name,
        label=build.target.label,
        firmware=contract.name if contract else "unchecked",
        output_order=contract.output_order if contract else (),
        operators=contract.operators if contract else (),
        contract=contract_spec(contract) if contract else None,
        accelerator=build.vela.accelerator if build.vela else "",
        weakly_typed=build.tensorrt is not None and build_engine.is_weakly_typed(build.tensorrt),
        slot=slot_spec(slot) if slot else None,
        flash=flash_spec(build.target.flash, slot) if slot else None,
        algorithm=slot.algorithm if slot else "",
        verified=contract.verified if contract else True,
        notes=_notes(contract) if contract else (),
        source=f"{contract.label}; read in {contract.source}" if contract else "",
    )


def _notes(contract: Contract) -> tuple[str, ...]:
    """Return warnings to show before a model is flashed."""
    lines = ", ".join(contract.unverified())
    return (
        *contract.notes,
        *(
            (f"These lines of the firmware's contract were read, never run: {lines}.",)
            if lines
            else ()
        ),
    )


def model_fits(model: ModelSpec, facts: KnownModel) -> bool:
    """Return whether the dataset labels the model's classes and keypoints.

    Class folders are found by name, so some of the model's classes are enough.
    """
    if model.task == "classify":
        return set(facts.names) <= set(model.classes)
    same_points = model.keypoints == (facts.keypoints if model.task == "pose" else 0)
    return len(facts.names) == len(model.classes) and same_points
