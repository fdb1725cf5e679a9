"""Write the README.md of a package with an engine: which library loads it, how, and what is not
verified.
"""

from dataclasses import dataclass

from buildsys.escaping import code_cell, markdown
from buildsys.steps.lib.packages import triton_readme
from buildsys.steps.lib.packages.network_description import Network
from buildsys.steps.lib.tensorrt.calibration_images import RECOMMENDED

_NAMES = {"tensorrt": "TensorRT", "tensorrt-rtx": "TensorRT-RTX"}


@dataclass(frozen=True, kw_only=True)
class Described:
    """The facts for the text. `gpus`: text that follows "of"; `newer`: newer versions load it, too;
    `pictures`: number of calibration images, 0 without calibration; `largest_batch`: the largest
    batch that a server may assemble, 0 if it may not; `tensors`: names and shapes of the outputs;
    `lowered`: the measured file is float32, but the engine is not; `jetson`: Triton has other
    containers for its GPU.
    """

    network: Network
    library: str
    version: str
    file: str
    bytes: int
    sha256: str
    gpus: str
    newer: bool
    pictures: int
    largest_batch: int
    tensors: tuple[tuple[str, tuple[int, ...]], ...]
    measured: bool
    lowered: bool
    jetson: bool

    @property
    def rtx(self) -> bool:
        """Return whether it is an engine of TensorRT-RTX."""
        return self.library == "tensorrt-rtx"


def describe(package: Described) -> str:
    """Return the whole text."""
    parts = [_contents(package), _loading(package), _timing(package)]
    if not package.rtx:
        parts += [_serving(package), triton_readme.asking(".venv-client", ' "tritonclient[http]"')]
    outputs = triton_readme.tell_outputs(package.network, package.tensors)
    parts += [outputs, _verified(package)]
    return "\n\n".join(part.strip() for part in parts) + "\n"


def _contents(package: Described) -> str:
    net, name = package.network, _NAMES[package.library]
    rows = triton_readme.companions(package.measured, package.pictures, package.lowered)
    other = "TensorRT" if package.rtx else "TensorRT-RTX"
    served = (
        ""
        if package.rtx
        else (
            f"\n| `triton/` | a model repository of Triton Inference Server: this engine as {code_cell(net.name)};"
            " Triton uses `labels.txt` in it for classification |"
            "\n| `client.py` | sends images to a Triton server instead |"
        )
    )
    return f"""
# {markdown(net.name)} for {markdown(net.label)}

An engine of NVIDIA {name}. {other} is a different product; neither can load engines of the other.

| File | What it is |
| --- | --- |
| {code_cell(package.file)} | the engine, {markdown(net.scheme)}, {package.bytes:,} bytes, sha256 `{package.sha256}` |
| `engine.json` | the library's version, GPUs, task, head, inputs and outputs, classes |
| `run.py` | loads the engine and detects objects in images |
| `benchmark.py` | measures the latency |{served}
| `runtime.py`, `cudart.py` | run the engine from Python with NumPy, the library and the CUDA runtime |
| `looking.py`, `shapes.py`, `pictures.py`, `vision.py`, `figures.py`, `requirements.txt` | modules and requirements of the programs |
| `labels.txt` | the classes in order, if known |
| `preprocessing.json` | how an image becomes the network's input |{rows}
| `manifest.json` | how every file was made |

The programs are under the Apache License 2.0; the network is under the licence that `manifest.json`
names, and the library under NVIDIA's. They need no other files of the build. They support Python 3.8
and later, and are tested with 3.11."""


def _loading(package: Described) -> str:
    name, version = _NAMES[package.library], package.version
    which = f"{version} or newer" if package.newer else f"{version} (no other version)"
    if package.rtx:
        library = f'"tensorrt-rtx-cu13=={version}" nvidia-cuda-runtime'
        where = "When the engine is loaded for the first time, the library compiles it for the GPU of the machine, which\ntakes a while."
        venv = "python3 -m venv .venv"
    else:
        library = ""
        where = f"""The library is part of JetPack. Elsewhere, unless it is installed on the system:

    .venv/bin/python -m pip install tensorrt=={version}

A version that the package index does not have is in NVIDIA's Debian packages and containers."""
        venv = "python3 -m venv --system-site-packages .venv"
    install = f".venv/bin/python -m pip install -r requirements.txt {library}".rstrip()
    return f"""
## Run it

It needs {name} {which} and an NVIDIA GPU of {markdown(package.gpus)}:

    {venv}
    {install}
    .venv/bin/python run.py photo.jpg --draw detections.jpg

{where}

`run.py` prints one line per detection, best first: {triton_readme.LINE}.
With `--json` it prints JSON. Without an image it runs the
engine once on zeros. Another version, another GPU and a damaged file are rejected with a message.

Exit codes: 0 done, 2 an image or an option is wrong, 3 the engine cannot be used on this machine, 4 a
library or a Python package is missing."""


def _timing(package: Described) -> str:
    least, best, most = package.network.batch
    batches = ""
    if least != most:
        batches = f"""
It runs a batch of {best}; `--batch N` runs another one from {least} to {most}. Run it once for each, with a JSON of
its own: `import-benchmark` reads several.
"""
    return f"""
## Measure the latency

    .venv/bin/python benchmark.py --json figures.json

prints mean, minimum, percentiles and maximum of 200 runs after 20 warm-up runs, for the engine alone and
end to end, with the batch size. The JSON has the engine's sha256, `engine` (the library), its `version`,
`gpu`, `compute_capability`, `machine`, `python`, `batch`, `warmup` and `runs`; `mean_ms`, `min_ms`,
`p50_ms` to `p99_ms` and `max_ms` are milliseconds per batch for the engine alone, and
`end_to_end` has the same including the copies to and from the GPU.
{batches}
In the workspace, `buildsys import-benchmark BUILD figures.json --device NAME` adds the engine's figures
to the report; BUILD is named in `manifest.json`."""


def _serving(package: Described) -> str:
    jetson = f"""

For a Jetson with JetPack 6 use the containers whose names end with `-igpu`:
{triton_readme.IGPU}"""
    suffix = "-igpu" if package.jetson else ""
    return f"""
## Serve it

{triton_readme.JETSON if package.jetson else triton_readme.DOCKER}

YY.MM is a month whose container has TensorRT {package.version}. A server with another version cannot
load the engine, even if only the fourth number differs, which Python may not report
({triton_readme.FOURTH}). The containers of a month have the same version: for this
server, build the engine in `nvcr.io/nvidia/tensorrt:YY.MM-py3{suffix}` of its month
({triton_readme.SAME}). The versions in each container:
{triton_readme.CONTAINERS}{jetson if package.jetson else ""}

{triton_readme.batching(package.network, package.largest_batch)}"""


def _verified(package: Described) -> str:
    net, few, whole, served = package.network, "", "", ""
    if 0 < package.pictures < RECOMMENDED:
        few = f"\n- accuracy with more than {package.pictures} calibration images; {RECOMMENDED} are recommended"
    if net.scheme == "int8" and package.rtx:
        whole = """
- that the GPU computes convolutions in int8: the file requests it with quantize and dequantize
  operators, but NVIDIA's support matrix of TensorRT-RTX lists int8 only for weights of matrix products"""
    if not package.rtx:
        served = "\n- that a Triton server can load and serve it, and `client.py`: no server was available"
    engine = (
        "the engine itself: it was built without a GPU, and never loaded or run"
        if package.rtx
        else "the engine itself, unless `manifest.json` has a measurement of it"
    )
    return f"""
## What is verified

{triton_readme.measuring(package.measured, net.scheme if package.lowered else "")} The decoders are tested against the build's own. Tests
also cover the messages for a missing library and, with TensorRT-RTX, for another version and a machine
without a GPU. Not verified:

- {engine}
- `run.py` and `benchmark.py` with a loaded engine: they have not been run on a GPU{whole}{served}{few}"""
