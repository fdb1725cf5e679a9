"""Measure the latency of an engine on this machine's GPU; a proof that no build depends on.

It measures two times: of the engine alone, from an input on the GPU to outputs on the GPU, with
CUDA events; and end to end, from an array in host memory to arrays in host memory, including both
copies. Decoding images and reading boxes are not included.

Not verified on a GPU yet; tests run it with a stand-in for the library.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from buildsys.spec import Format, Resources, StepSpec, Templates
from buildsys.steps.lib.metrics.latency import END_TO_END, ENGINE_ONLY, HERE, summarize
from buildsys.steps.lib.tensorrt.engine_process import RUNTIME_FILES, GpuLibrary, requires_gpu

STEP = StepSpec(
    tool_env="evaluate",
    consumes=(Format.ENGINE,),
    produces=Format.LATENCY,
    needs=("engine-facts",),
    resources=Resources(memory_mib=2000, gpu=True, alone=True),
    # It needs a GPU that the engine is built for, and the library in this machine's Python.
    requires=lambda params: requires_gpu(params.library),
    local=True,
    templates=Templates(folder="engine", files=RUNTIME_FILES),
)
_PARTS = (("engine", ENGINE_ONLY), ("end_to_end", END_TO_END))


@dataclass(frozen=True, kw_only=True)
class Params:
    """Number of runs and batch sizes. `machine`: the machine that the figures hold for (part of the
    key).
    """

    library: GpuLibrary
    batches: tuple[int, ...]
    height: int
    width: int
    runs: int
    warmup: int
    machine: str


def run(inputs: dict[str, Path], outputs: dict[str, Path], params: Params) -> None:
    """`inputs`: engine, engine-facts, templates. `outputs`: latency, a JSON object of entries, two
    a batch; times in milliseconds, of the whole batch.
    """
    import hashlib
    import json

    from buildsys.steps.lib.tensorrt import engine_process

    child = engine_process.find_child(params.library, inputs)
    frame = (params.height, params.width)
    times = child.time(params.batches, frame, params.warmup, params.runs)
    version, gpu = engine_process.about()
    known: dict[str, Any] = {
        "label": HERE,
        "engine": params.library.name,
        "version": version,
        "kernels": "",
        "device": params.machine,
        "gpu": gpu,
        "threads": 0,
        "warmup": params.warmup,
        "sha256": hashlib.sha256(inputs["engine"].read_bytes()).hexdigest(),
        "format": "engine",
    }
    entries = [
        {**known, "batch": row["batch"], "what": what, **summarize(row[part])}
        for row in times
        for part, what in _PARTS
    ]
    text = json.dumps({"entries": entries}, indent=1, sort_keys=True)
    outputs[Format.LATENCY].write_text(text + "\n", encoding="utf-8")
