"""How long an engine takes on this machine's GPU; a proof beside a build, no input of it.

Two times: of the engine only, from an input on the GPU to outputs on the GPU, by CUDA's events; and
end to end, from an array in the machine's memory to arrays there, both copies included. No decoding of
a picture, no reading of boxes.

Nobody has run this on a GPU yet; its plumbing was tried with a stand-in for the library.
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
    # A GPU that the engine is for, and the library in the machine's Python.
    requires=lambda params: requires_gpu(params.library),
    local=True,
    templates=Templates(folder="engine", files=RUNTIME_FILES),
)
_PARTS = (("engine", ENGINE_ONLY), ("end_to_end", END_TO_END))


@dataclass(frozen=True, kw_only=True)
class Params:
    """How often, and of which batches. `machine`: what the figures are true of (part of the key)."""

    library: GpuLibrary
    batches: tuple[int, ...]
    height: int
    width: int
    runs: int
    warmup: int
    machine: str


def run(inputs: dict[str, Path], outputs: dict[str, Path], params: Params) -> None:
    """`inputs`: engine, engine-facts, templates. `outputs`: latency, a JSON object of entries, two a
    batch; times in milliseconds, of the whole batch.
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
