"""Firmware contracts: what a firmware decodes, line by line with its source."""

from difflib import get_close_matches
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field, StrictBool, StrictInt, StrictStr

from buildsys.authoring.syntax.validation import Block, Locate
from buildsys.authoring.syntax.values import Count, Task
from buildsys.authoring.targets.slots import SlotBlock
from buildsys.errors import Diagnostic
from buildsys.spec import GRID, ContractSpec, OutputFormula
from buildsys.steps.check_operators import EVERY
from buildsys.steps.lib.files.tflite_schema import KERNELS
from buildsys.steps.lib.heads.formulas import dimensions, evaluate, shapes
from buildsys.steps.lib.heads.outputs import HEADS, head_formulas
from buildsys.text import did_you_mean

if TYPE_CHECKING:
    Head = str
else:
    Head = Literal[tuple(HEADS)]


class InputContract(Block):
    """The firmware's input tensor; null `scale` and `zero_point`: it reads the file's."""

    dtype: Literal["int8", "uint8", "float32"] = "int8"
    layout: Literal["nhwc"] = "nhwc"
    color: Literal["rgb"] = "rgb"
    scale: Annotated[float, Field(gt=0)] | None = None
    zero_point: StrictInt | None = None
    square: StrictBool = True
    multiple: Count = GRID


class OutputTensor(Block):
    """One output: its name in the head, each axis a number or a formula.

    See steps.lib.firmware.contract_layout.
    """

    name: StrictStr
    shape: Annotated[tuple[StrictInt | StrictStr, ...], Field(min_length=1)]

    @property
    def formula(self) -> OutputFormula:
        """Return the output with its axes as formulas; a number is a formula, too."""
        return OutputFormula(name=self.name, shape=tuple(map(str, self.shape)))


class OutputsContract(Block):
    """The tensors that the firmware reads: by order, or each by its shape, in any order."""

    match: Literal["order", "shape"]
    dtype: Literal["int8", "uint8", "float32"] = "int8"
    granularity: Literal["per-tensor"] = "per-tensor"
    values: Literal["logits", "probabilities"]
    tensors: Annotated[tuple[OutputTensor, ...], Field(min_length=1)]


class Line(Block):
    """The source of a line of the contract, if it differs from the others'."""

    source: StrictStr
    verified: StrictBool


class Trap(Block):
    """A known problem of this firmware; with `classes` only for that number."""

    text: StrictStr
    classes: Count | None = None


class Contract(Block):
    """What a firmware decodes; `null` in `classes` and `keypoint_values` means any number.

    `task`, `head` and `outputs` null: the user has a decoder; the other lines still apply.
    """

    name: Annotated[StrictStr, Field(pattern=r"^[a-z0-9][a-z0-9.-]*$")]
    label: StrictStr
    task: Task | None = None
    head: Head | None = None
    input: InputContract | None = None
    outputs: OutputsContract | None = None
    classes: Count | None = None
    refused_classes: tuple[Count, ...] = ()
    keypoint_values: Count | None = None
    keypoint_dims: Count | None = None
    operators: tuple[StrictStr, ...] = ()
    arena_kib: Count | None = None
    slot: SlotBlock | None = None
    decoder: (
        Literal["himax-od", "himax-pose", "sscma-yolov8", "sscma-world", "sscma-pose"] | None
    ) = None
    compilers: dict[Literal["vela"], tuple[StrictStr, ...]] = {}
    source: StrictStr
    verified: StrictBool
    lines: dict[StrictStr, Line] = {}
    traps: tuple[Trap, ...] = ()
    notes: tuple[StrictStr, ...] = ()

    @property
    def io(self) -> str:
        """Return the dtype of the network's inputs and outputs."""
        return self.outputs.dtype if self.outputs else "int8"

    @property
    def square(self) -> bool:
        """Return whether it takes only square images."""
        return self.input.square if self.input else self.head is not None

    @property
    def output_order(self) -> tuple[str, ...]:
        """Return names of the outputs in the firmware's order; empty if any order is accepted."""
        if self.outputs is None or self.outputs.match != "order":
            return ()
        return tuple(tensor.name for tensor in self.outputs.tensors)

    def provenance(self) -> tuple[tuple[str, str, bool], ...]:
        """Return (line, its source, whether it was verified) of everything that the contract
        states.
        """
        default = Line(source=self.source, verified=self.verified)
        rows = [(name, self.lines.get(name, default)) for name in STATED if getattr(self, name)]
        return tuple((name, line.source, line.verified) for name, line in rows)

    def unverified(self) -> tuple[str, ...]:
        """Return the lines that were not verified."""
        return tuple(name for name, _, verified in self.provenance() if not verified)


STATED = (
    "head",
    "input",
    "outputs",
    "classes",
    "refused_classes",
    "keypoint_values",
    "keypoint_dims",
    "operators",
    "arena_kib",
    "slot",
    "decoder",
    "compilers",
)
"""Lines of a contract that can have their own source."""


def formulas(contract: Contract) -> tuple[OutputFormula, ...]:
    """Return the outputs that it states, otherwise those of its head."""
    if contract.outputs is not None:
        return tuple(tensor.formula for tensor in contract.outputs.tensors)
    return head_formulas(contract.head, contract.task or "") if contract.head else ()


def contract_spec(contract: Contract) -> ContractSpec | None:
    """Return the contract for steps that check a file; None if it has no tensors."""
    outputs = formulas(contract)
    if not outputs and contract.input is None:
        return None
    edge = contract.input or InputContract()
    return ContractSpec(
        name=contract.name,
        label=contract.label,
        outputs=outputs,
        in_order=bool(contract.output_order),
        dtype=contract.io,
        granularity=contract.outputs.granularity if contract.outputs else "per-tensor",
        classes=contract.classes or 0,
        refused_classes=contract.refused_classes,
        keypoint_values=contract.keypoint_values or 0,
        keypoint_dims=contract.keypoint_dims or 0,
        input_dtype=edge.dtype if contract.input else contract.io,
        input_scale=edge.scale or 0.0,
        input_zero_point=edge.zero_point or 0,
        square=edge.square,
        cure=_cure(contract),
    )


def _cure(contract: Contract) -> str:
    if contract.head is None:
        return (
            "choose another `firmware`, or write `firmware: unchecked` if you have your own decoder"
        )
    return (
        f"export the {contract.head} head (remove `export.head`: the contract chooses it),"
        " or choose another `firmware`, or write `firmware: unchecked` if you have your own decoder"
    )


def check_contract(contract: Contract, locate: Locate) -> list[Diagnostic]:
    """Check across lines: outputs that do not match the head, and unknown lines."""
    problems = []
    for name in contract.lines:
        if name not in STATED:
            message = f"the contract has no line `{name}`, so it cannot have a source"
            problems.append(locate(("lines", name), message, did_you_mean(name, STATED), key=True))
    for index, name in enumerate(contract.operators):
        if name not in (*KERNELS, EVERY) and get_close_matches(name.upper(), KERNELS, 1, 0.8):
            # a name that resembles none of them may be an operator of the firmware
            message = f"TensorFlow Lite has no operator `{name}`"
            hint = did_you_mean(name.upper(), KERNELS)
            problems.append(locate(("operators", index), message, hint))
    if contract.head is not None and contract.task not in ("detect", "pose"):
        message = f"`head` is for tasks detect and pose, but `task` is {contract.task or 'missing'}"
        return [*problems, locate(("head",), message, "write task: detect, or remove `head`")]
    if contract.outputs is None:
        return problems
    return problems + (_check_formulas(contract, locate) or _check_outputs(contract, locate))


_SAMPLES = (dimensions(64, 64, 3, 5, 3), dimensions(96, 96, 7, 4, 3))


def _check_formulas(contract: Contract, locate: Locate) -> list[Diagnostic]:
    assert contract.outputs is not None
    for row, tensor in enumerate(contract.outputs.tensors):
        for column, axis in enumerate(tensor.formula.shape):
            try:
                evaluate(axis, _SAMPLES[0])
            except ValueError as error:
                at = ("outputs", "tensors", row, "shape", column)
                return [locate(at, str(error), "for example hw8, 4+nc or K*D")]
    return []


def _check_outputs(contract: Contract, locate: Locate) -> list[Diagnostic]:
    """Check that all outputs of its head are listed, once each, with their shapes."""
    assert contract.outputs is not None
    if contract.head is None:
        return []
    head = {o.name: o for o in head_formulas(contract.head, contract.task or "")}
    seen: set[str] = set()
    for row, tensor in enumerate(contract.outputs.tensors):
        at = ("outputs", "tensors", row, "name")
        if tensor.name not in head:
            message = f"the {contract.head} head of {contract.task} has no output `{tensor.name}`"
            return [locate(at, message, did_you_mean(tensor.name, head))]
        if tensor.name in seen:
            return [locate(at, f"duplicate tensor `{tensor.name}`")]
        seen.add(tensor.name)
        wanted, given = head[tensor.name], tensor.formula
        if any(shapes([wanted], values) != shapes([given], values) for values in _SAMPLES):
            message = f"the {contract.head} head's {tensor.name} is [{', '.join(wanted.shape)}]"
            at = ("outputs", "tensors", row, "shape")
            return [locate(at, message, "other shapes belong to other heads")]
    missing = ", ".join(name for name in head if name not in seen)
    if missing:
        message = f"`tensors` does not list {missing}"
        hint = "list every output once, or remove `outputs` if the order does not matter"
        return [locate(("outputs", "tensors"), message, hint)]
    return []
