"""Write the README.md of a package for Triton Inference Server, and its parts in packages of
engines.
"""

from dataclasses import dataclass

from buildsys.escaping import code_cell, code_span, markdown
from buildsys.steps.lib.heads import meanings
from buildsys.steps.lib.packages.network_description import Network

CONTAINERS = "https://docs.nvidia.com/deeplearning/frameworks/support-matrix/index.html"
"""NVIDIA's list of the software in each month's container."""
FOURTH = "https://github.com/NVIDIA/TensorRT/issues/3071"
"""A server of 8.6.1.2 refuses an engine of 8.6.1.6."""
SAME = "https://github.com/triton-inference-server/server/issues/5812"
"""Triton's maintainers: the TensorRT container of the same month has the server's version."""
LINE = (
    "the image, the class, its score, and the left edge, top edge, width and"
    "\nheight of its box in pixels of the image"
)
"""What templates/common/pictures.py prints for a detection."""
RELEASES = (
    "https://github.com/triton-inference-server/server/blob/main/docs/introduction/compatibility.md"
)
"""Triton's list of the ONNX Runtime version of each release."""
DOCKER = """\
    docker run --rm --gpus all -p 8000:8000 -v "$PWD/triton:/models" \\
        nvcr.io/nvidia/tritonserver:YY.MM-py3 tritonserver --model-repository=/models"""
"""The command of Triton's quick start."""
JETSON = DOCKER.replace("--gpus all", "--runtime nvidia").replace("-py3", "-py3-igpu")
"""The command for Jetson: since JetPack 6 its containers have a suffix (Triton's documentation,
IGPU).
"""
IGPU = "https://github.com/triton-inference-server/server/releases/tag/v2.41.0"


@dataclass(frozen=True, kw_only=True)
class Described:
    """The facts for the text. `file`: path in the package; `pictures`: number of calibration
    images, 0 without calibration; `largest_batch`: the largest batch that the server may assemble,
    0 if it may not; `tensors`: names and shapes of the outputs.
    """

    network: Network
    file: str
    bytes: int
    sha256: str
    pictures: int
    largest_batch: int
    tensors: tuple[tuple[str, tuple[int, ...]], ...]
    measured: bool


def describe(package: Described) -> str:
    """Return the whole text."""
    net = package.network
    parts = (
        _contents(package),
        _serving(package),
        asking(".venv", ""),
        tell_outputs(net, package.tensors),
        _verified(package),
    )
    return "\n\n".join(part.strip() for part in parts) + "\n"


def _contents(package: Described) -> str:
    net = package.network
    rows = companions(package.measured, package.pictures)
    return f"""
# {markdown(net.name)} for {markdown(net.label)}

| File | What it is |
| --- | --- |
| `triton/` | a model repository with one model, {code_cell(net.name)} |
| {code_cell(package.file)} | the network, {markdown(net.scheme)}, {package.bytes:,} bytes, sha256 `{package.sha256}` |
| {code_cell(f"triton/{net.name}/config.pbtxt")} | the server's configuration, made with Triton's own schema |
| {code_cell(f"triton/{net.name}/labels.txt")} | the classes, if known; Triton uses them for classification |
| `client.py` | sends images to the server and prints the detections |
| `looking.py`, `shapes.py`, `pictures.py`, `vision.py`, `requirements.txt` | modules and requirements of the client |
| `model.json`, `labels.txt` | task, head, inputs and outputs, classes, thresholds |
| `preprocessing.json` | how an image becomes the network's input |{rows}
| `manifest.json` | how every file was made |

The programs are under the Apache License 2.0; the network is under the licence that `manifest.json`
names."""


def companions(measured: bool, pictures: int, lowered: bool = False) -> str:
    """Return table rows for files that only some packages have."""
    accuracy = f"accuracy{' of the float32 ONNX file' if lowered else ''}, as measured by the build"
    figures = f"\n| `metrics.json` | {accuracy} |" if measured else ""
    calibrated = "\n| `calibration.json` | the images used for int8 calibration |"
    return figures + (calibrated if pictures else "")


def _serving(package: Described) -> str:
    return f"""
## Serve it

{DOCKER}

YY.MM is a release of Triton; each has its own version of ONNX Runtime:
{RELEASES}
Without a GPU, omit `--gpus all`. {batching(package.network, package.largest_batch)}"""


def batching(net: Network, largest: int) -> str:
    """Return how many images a request holds, and whether the server assembles batches."""
    if not largest:
        least, _, most = net.batch
        held = f"{least}" if least == most else f"{least} to {most}"
        return (
            f"A request has a batch of {held}, including the batch axis; the server does not"
            " combine requests."
        )
    best = f", preferably {net.batch[1]}" if net.batch[1] > 1 else ""
    return f"Dynamic batching is on: the server combines requests, up to {largest} images{best}."


def measuring(measured: bool, lowered: str = "") -> str:
    """Return what the figures were measured on; `lowered`: the precision to which TensorRT lowered
    a float32 file.
    """
    if not measured:
        return "Accuracy was not measured."
    if not lowered:
        return "Accuracy was measured on the ONNX file, in onnxruntime on a CPU."
    return (
        "Accuracy was measured on the float32 ONNX file, in onnxruntime on a CPU;"
        f" {lowered} was not measured, unless `manifest.json` has a measurement of the engine."
    )


def asking(folder: str, more: str) -> str:
    """Return how to run the client; `folder`: folder of its Python packages; `more`: what it needs
    besides requirements.txt.
    """
    return f"""
## Send images to it

    python3 -m venv {folder}
    {folder}/bin/python -m pip install -r requirements.txt{more}
    {folder}/bin/python client.py photo.jpg --url localhost:8000 --draw detections.jpg

prints one line per detection, best first: {LINE}. A request has float32 values [batch, 3, height, width] as
described in `preprocessing.json`; `client.py` is an example."""


def tell_outputs(net: Network, tensors: tuple[tuple[str, tuple[int, ...]], ...]) -> str:
    """Return the outputs in file order with their meanings."""
    rows = [
        f"| {code_cell(name)} | {' x '.join('B' if side < 0 else str(side) for side in shape)} |"
        f" {markdown(meanings.tell_output(net.head, net.task, name) or 'unknown')} |"
        for name, shape in tensors
    ]
    table = "\n".join(("| Output | Shape | Meaning |", "| --- | --- | --- |", *rows))
    return f"""
## Outputs

Head {code_span(net.head)}, task {markdown(net.task or "unknown")}; all float32. B is the batch size.

{table}"""


def _verified(package: Described) -> str:
    return f"""
## What is verified

`config.pbtxt` is written with Triton's own message types. {measuring(package.measured)}
The decoders are tested against the build's own. Not verified:

- that a server can load and serve {code_span(package.network.name)}: no server was available
- the requests of `client.py`"""
