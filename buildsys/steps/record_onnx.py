"""Record an ONNX file's outputs for prepared images, in onnxruntime on the CPU."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from buildsys.spec import Format, Preprocessing, Resources, StepSpec
from buildsys.steps.lib.parity import recording_files

STEP = StepSpec(
    tool_env="evaluate",
    consumes=(Format.ONNX,),
    produces=Format.RECORDING,
    resources=Resources(memory_mib=1000),
)


@dataclass(frozen=True, kw_only=True)
class Params:
    """The outputs' canonical names, and the number of images."""

    names: tuple[str, ...]
    count: int
    preprocessing: Preprocessing


def run(inputs: dict[str, Path], outputs: dict[str, Path], params: Params) -> None:
    """Record the outputs in file order."""
    from buildsys.steps.lib.networks import onnx_session

    network = onnx_session.network(inputs["onnx"])

    def answer(picture: Any) -> Iterable[recording_files.Output]:
        found = network(picture)
        names = recording_files.name_outputs(list(found), params.names, inputs["onnx"])
        return (
            recording_files.Output(name=name, values=value)
            for name, value in zip(names, found.values(), strict=True)
        )

    pictures = recording_files.pictures(inputs.get("pictures"), params.preprocessing, params.count)
    recording_files.record(answer, pictures, outputs["recording"])
