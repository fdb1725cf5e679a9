"""What a TFLite file answers to prepared images, by LiteRT; integers stay integers.

On the reference kernels an integer file answers bit for bit as in TFLite Micro; the optimized ones
differ by up to tens of steps of the last bit.
"""

from dataclasses import dataclass
from pathlib import Path

from buildsys.spec import Format, Preprocessing, Resources, StepSpec
from buildsys.steps.lib.parity import recording_files

STEP = StepSpec(
    tool_env="evaluate",
    consumes=(Format.TFLITE,),
    produces=Format.RECORDING,
    resources=Resources(memory_mib=1000),
)


@dataclass(frozen=True, kw_only=True)
class Params:
    """The outputs' canonical names (in file order, for a file that names none), how many pictures."""

    names: tuple[str, ...]
    count: int
    preprocessing: Preprocessing
    reference_kernels: bool = False


def run(inputs: dict[str, Path], outputs: dict[str, Path], params: Params) -> None:
    """Outputs in file order."""
    from buildsys.steps.lib.runtime import litert_raw

    model = litert_raw.Raw(inputs["tflite"], params.reference_kernels)
    names = recording_files.name_outputs(model.names, params.names, inputs["tflite"])
    pictures = recording_files.pictures(inputs.get("pictures"), params.preprocessing, params.count)
    recording_files.record(
        lambda picture: model.answer(picture, names), pictures, outputs["recording"]
    )
