"""Check the file to be flashed: its operators against the firmware's list, and its NPU header.

An operator that the firmware does not register fails on the device when tensors are allocated; this
step names it and the layer that it came from.
"""

import json
from dataclasses import dataclass
from pathlib import Path

from buildsys.spec import Format, StepSpec

_KINDS = (Format.VELA, Format.TFLITE)
STEP = StepSpec(
    tool_env="evaluate",
    consumes=_KINDS,
    produces=Format.VERDICT,
)
_MOST_LAYERS = 3
_NPU = "ethos-u"
EVERY = "builtin"
"""In a contract's operator list: every operator of TensorFlow Lite itself, no custom operator."""


@dataclass(frozen=True, kw_only=True)
class Params:
    """The operators that the firmware registers (empty: unknown), and the NPU by Vela's name
    (empty: none).
    """

    firmware: str
    operators: tuple[str, ...]
    accelerator: str


def run(inputs: dict[str, Path], outputs: dict[str, Path], params: Params) -> None:
    """Check the file; `inputs` has either `vela-tflite` or `tflite`."""
    from buildsys.steps.lib.files import tflite

    (path,) = (inputs[kind] for kind in _KINDS if kind in inputs)
    layers = tflite.read_operators(path)
    failures = judge_list(layers, params)
    drivers = []
    for payload in tflite.read_payloads(path, _NPU):
        described, problems = _check_driver(payload, params)
        drivers.append(described)
        failures += [f"the Ethos-U driver would refuse the file: {text}" for text in problems]
    if params.accelerator and not drivers:
        failures.append(
            f"nothing of the file runs on the {params.accelerator}: Vela left every operator to the"
            " CPU; is the file quantized to int8 with fixed shapes?"
        )
    verdict = {
        "passed": not failures,
        "failures": failures,
        "operators": {name: len(found) for name, found in layers.items()},
        "driver": drivers,
    }
    outputs["verdict"].write_text(json.dumps(verdict, indent=1) + "\n", encoding="utf-8")


def judge_list(layers: dict[str, tuple[str, ...]], params: Params) -> list[str]:
    """Return a sentence if operators (given with the layers that they came from) are not
    registered.
    """
    from buildsys.steps.lib.files.tflite_schema import KERNELS

    known = {*params.operators, _NPU}
    known |= set(KERNELS) if EVERY in params.operators else set()
    missing = [name for name in layers if name not in known]
    if not params.operators or not missing:
        return []
    rows = []
    for name in missing:
        found = [layer.split(";")[0] for layer in layers[name]]  # of fused layers the first
        more = f" and {len(found) - _MOST_LAYERS} more" if len(found) > _MOST_LAYERS else ""
        rows.append(f"{name} ({len(found)}: {', '.join(found[:_MOST_LAYERS])}{more})")
    where = "left on the CPU by Vela" if params.accelerator else "in the file"
    cures = "Another head, another architecture" + (", a newer Vela" if params.accelerator else "")
    registered = ["every builtin operator" if name == EVERY else name for name in params.operators]
    return [
        f"firmware {params.firmware} does not register {'; '.join(rows)}, {where}: the model would"
        f" fail on the device when its tensors are allocated. It registers"
        f" {', '.join(registered)}. {cures} or another firmware may help"
    ]


def _check_driver(payload: bytes, params: Params) -> tuple[dict[str, object], list[str]]:
    from buildsys.steps.lib.firmware import ethos_u_driver

    try:
        read = ethos_u_driver.read(payload)
    except ValueError as error:
        return {}, [str(error)]
    if not params.accelerator:
        return read.describe(), [f"it holds an {_NPU} operator, and this target has no NPU"]
    return read.describe(), ethos_u_driver.problems(read, params.accelerator)
