"""Reorder the outputs of a TFLite file into the order in which a firmware reads them.

Only the list of output indices is rewritten, in place: weights, names and alignment stay the same
bytes. Firmware with different orders can therefore share one export and one quantization.
check_contract decides first whether the file fits the contract.
"""

from dataclasses import dataclass
from pathlib import Path

from buildsys.spec import BoardSpec, Format, ModelSpec, StepSpec
from buildsys.steps import check_contract
from buildsys.steps.lib.runtime.progress import fail

STEP = StepSpec(
    tool_env="evaluate",
    consumes=(Format.TFLITE,),
    produces=Format.TFLITE,
)


@dataclass(frozen=True, kw_only=True)
class Settings:
    """No settings: the firmware contract decides."""


@dataclass(frozen=True, kw_only=True)
class Params:
    """The contract, and the canonical order of the head for firmware that accepts any order."""

    check: check_contract.Params
    order: tuple[str, ...]


def plan(settings: Settings, model: ModelSpec, board: BoardSpec) -> Params:
    """Return the contract's order, or the canonical one if the firmware accepts any."""
    return Params(check=contract_params(model, board), order=bound_order(board))


def bound_order(board: BoardSpec) -> tuple[str, ...]:
    """Return the names of a file's outputs in the order that this step gives them; () if no contract
    defines one.
    """
    outputs = board.contract.outputs if board.contract is not None else ()
    return (board.output_order or tuple(output.name for output in outputs)) if outputs else ()


def contract_params(model: ModelSpec, board: BoardSpec) -> check_contract.Params:
    """Return what is known about the network before its file exists."""
    assert board.contract is not None
    frame = model.preprocessing
    return check_contract.Params(
        contract=board.contract,
        height=frame.height if frame else 0,
        width=frame.width if frame else 0,
        classes=len(model.classes),
        keypoints=model.keypoints,
    )


def run(inputs: dict[str, Path], outputs: dict[str, Path], params: Params) -> None:
    """Write the file with its outputs reordered."""
    from buildsys.steps.lib.files import tflite

    layout = check_contract.find_layout(tflite.read(inputs["tflite"]), params.check)
    if layout is None:
        fail("the file's outputs are not those of the contract; its verdict says which")
    order = tuple(layout.names.index(name) for name in params.order)
    outputs["tflite"].write_bytes(tflite.reorder_outputs(inputs["tflite"].read_bytes(), order))
