"""Record a TFLite file's outputs for prepared images, in LiteRT; integers stay integers.

With reference kernels the outputs of an integer file are bit-exact with TFLite Micro; optimized
kernels differ by up to tens of quantization steps.
"""

from dataclasses import dataclass
from pathlib import Path

from buildsys.spec import Format, Preprocessing, Resources, StepSpec
from buildsys.steps.lib.files import float_tflite
from buildsys.steps.lib.parity import recording_files

STEP = StepSpec(
    tool_env="evaluate",
    consumes=(Format.TFLITE,),
    produces=Format.RECORDING,
    resources=Resources(memory_mib=1000),
)


@dataclass(frozen=True, kw_only=True)
class Params:
    """The outputs' canonical names (in file order, for a file without names), and the number of
    images.
    """

    names: tuple[str, ...]
    count: int
    preprocessing: Preprocessing
    reference_kernels: bool = False


def run(inputs: dict[str, Path], outputs: dict[str, Path], params: Params) -> None:
    """Record the outputs in file order."""
    from buildsys.steps.lib.networks import litert_raw

    float_tflite.demand(inputs["tflite"])
    model = litert_raw.Raw(inputs["tflite"], params.reference_kernels)
    names = recording_files.name_outputs(model.names, params.names, inputs["tflite"])
    pictures = recording_files.pictures(inputs.get("pictures"), params.preprocessing, params.count)
    recording_files.record(
        lambda picture: model.answer(picture, names), pictures, outputs["recording"]
    )
