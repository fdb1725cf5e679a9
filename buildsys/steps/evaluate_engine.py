"""Measure the accuracy of an engine on this machine's GPU, with the decoders used for every other
file.

A proof that no build depends on: engines may be built where no GPU can run them, and the gate uses
what every machine measures alike, the ONNX file that the engine is built from. The library is that
of the machine's own Python; images, decoding and counting are ours (see `engine_process`).

Not verified on a GPU yet; tests run it with a stand-in for the library.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from buildsys.spec import Format, Resources, StepSpec, Templates
from buildsys.steps.lib.metrics.accuracy import Params as Reading
from buildsys.steps.lib.metrics.accuracy import measure
from buildsys.steps.lib.tensorrt.engine_process import RUNTIME_FILES, GpuLibrary, requires_gpu

STEP = StepSpec(
    tool_env="evaluate",
    consumes=(Format.ENGINE,),
    produces=Format.EVIDENCE,
    needs=("engine-facts",),
    resources=Resources(memory_mib=2000, gpu=True),
    # It needs a GPU that the engine is built for, and the library in this machine's Python.
    requires=lambda params: requires_gpu(params.library),
    templates=Templates(folder="engine", files=RUNTIME_FILES),
)


@dataclass(frozen=True, kw_only=True)
class Params:
    """`reading`: which images to use and how to read outputs; `least`: the smallest batch that the
    engine accepts.
    """

    reading: Reading
    library: GpuLibrary
    least: int


def run(inputs: dict[str, Path], outputs: dict[str, Path], params: Params) -> None:
    """Measure. `inputs`: engine, engine-facts, dataset, templates. `outputs`: evidence, JSON in the
    form of metrics with `device`: the GPU, and the exact version of the library.
    """
    import json

    import numpy as np

    from buildsys.steps.lib.images import prepared_images
    from buildsys.steps.lib.tensorrt import engine_process

    child = engine_process.find_child(params.library, inputs)
    with child.open() as engine:

        def predict(picture: Any) -> dict[str, Any]:
            """Infer one image; it is repeated up to the smallest batch that the engine accepts."""
            batch = np.repeat(prepared_images.to_nchw(picture[None]), params.least, axis=0)
            return {name: values[:1] for name, values in engine.infer(batch).items()}

        target = outputs[Format.EVIDENCE]
        measure(inputs["engine"], inputs["dataset"], predict, params.reading, target, "engine")
    found = json.loads(target.read_text(encoding="utf-8"))
    found["device"] = engine_process.describe(params.library)
    target.write_text(json.dumps(found, indent=1, sort_keys=True) + "\n", encoding="utf-8")
