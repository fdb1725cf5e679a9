"""Accuracy of an engine on this machine's GPU, through the decoders that every other file goes through.

A proof beside the build, no input of it: engines are built where nothing runs them, and the gate
judges what every machine measures alike, the ONNX file that the engine is built from. The library is
the machine's own Python's; pictures, decoding and counting are ours (see `engine_process`).

Nobody has run this on a GPU yet; its plumbing was tried with a stand-in for the library.
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
    # A GPU that the engine is for, and the library in the machine's Python.
    requires=lambda params: requires_gpu(params.library),
    templates=Templates(folder="engine", files=RUNTIME_FILES),
)


@dataclass(frozen=True, kw_only=True)
class Params:
    """`reading`: over which pictures, and how outputs are read; `least`: the smallest batch that the
    engine takes.
    """

    reading: Reading
    library: GpuLibrary
    least: int


def run(inputs: dict[str, Path], outputs: dict[str, Path], params: Params) -> None:
    """`inputs`: engine, engine-facts, dataset, templates. `outputs`: evidence, JSON as metrics have
    it, with `device`: the GPU, and the library in its exact version.
    """
    import json

    import numpy as np

    from buildsys.steps.lib.datasets import prepared_images
    from buildsys.steps.lib.tensorrt import engine_process

    child = engine_process.find_child(params.library, inputs)
    with child.open() as engine:

        def predict(picture: Any) -> dict[str, Any]:
            """A batch of one; an engine that takes no less than eight sees the picture eight times."""
            batch = np.repeat(prepared_images.to_nchw(picture[None]), params.least, axis=0)
            return {name: values[:1] for name, values in engine.infer(batch).items()}

        target = outputs[Format.EVIDENCE]
        measure(inputs["engine"], inputs["dataset"], predict, params.reading, target, "engine")
    found = json.loads(target.read_text(encoding="utf-8"))
    found["device"] = engine_process.describe(params.library)
    target.write_text(json.dumps(found, indent=1, sort_keys=True) + "\n", encoding="utf-8")
