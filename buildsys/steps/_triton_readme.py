"""The README.md of a package for Triton Inference Server, and what packages of engines say of it."""

from dataclasses import dataclass

from buildsys.steps import _meanings
from buildsys.steps._runnable import Network

CONTAINERS = "https://docs.nvidia.com/deeplearning/frameworks/support-matrix/index.html"
"""Which software each month's container has, by NVIDIA."""
RELEASES = (
    "https://github.com/triton-inference-server/server/blob/main/docs/introduction/compatibility.md"
)
"""Which ONNX Runtime each release has, by Triton's authors."""
DOCKER = """\
    docker run --rm --gpus all -p 8000:8000 -v "$PWD/triton:/models" \\
        nvcr.io/nvidia/tritonserver:YY.MM-py3 tritonserver --model-repository=/models"""
"""As in Triton's own quick start."""


@dataclass(frozen=True, kw_only=True)
class Described:
    """What the text is about. `file`: in the package; `pictures`: how many calibrated, 0 where nothing
    was; `largest_batch`: what the server may put together, 0 where it may not.
    """

    network: Network
    file: str
    bytes: int
    sha256: str
    pictures: int
    largest_batch: int
    measured: bool


def describe(package: Described) -> str:
    """The whole text."""
    net = package.network
    table = tell_outputs(net, tuple((name, ()) for name in net.outputs))
    said = f"Answers\n\nHead `{net.head}`, task {net.task or 'not said'}.\n\n{table}"
    parts = (
        _contents(package), _serving(package), asking(net), f"## {said}", _verified(package),
    )  # fmt: skip
    return "\n\n".join(part.strip() for part in parts) + "\n"


def _contents(package: Described) -> str:
    net = package.network
    rows = companions(package.measured, package.pictures)
    return f"""
# {net.name} for {net.label}

| File | What it is |
| --- | --- |
| `triton/` | a model repository with one model, `{net.name}` |
| `{package.file}` | the network, {net.scheme}, {package.bytes:,} bytes, sha256 `{package.sha256}` |
| `triton/{net.name}/config.pbtxt` | what the server has to know, made with Triton's own schema |
| `client.py` | sends a photograph to the server and tells what it sees |
| `looking.py`, `shapes.py`, `pictures.py`, `vision.py`, `requirements.txt` | what that rests on |
| `model.json`, `labels.txt` | task, head, input and outputs, classes, thresholds |
| `preprocessing.json` | how a photograph becomes the network's input |{rows}
| `manifest.json` | how all of it was made |

The programs are under the Apache License 2.0; the network is under the licence that `manifest.json`
names."""


def companions(measured: bool, pictures: int) -> str:
    """Rows of files that not every package has."""
    figures = "\n| `metrics.json` | accuracy, as measured by the build |" if measured else ""
    calibrated = "\n| `calibration.json` | the pictures that int8 was calibrated on |"
    return figures + (calibrated if pictures else "")


def _serving(package: Described) -> str:
    return f"""
## Serving it

{DOCKER}

YY.MM is a release of Triton; {RELEASES} says which ONNX Runtime each has. Without a GPU leave
`--gpus all` out. {batching(package.network, package.largest_batch)}"""


def batching(net: Network, largest: int) -> str:
    """How many pictures a request holds, and who puts requests together."""
    if not largest:
        least, _, most = net.batch
        held = f"{least}" if least == most else f"{least} to {most}"
        return (
            f"A request holds a batch of {held}, its axis included; the server puts no requests"
            " together."
        )
    best = f", rather {net.batch[1]}" if net.batch[1] > 1 else ""
    return f"Dynamic batching is on: the server puts requests together, up to {largest} pictures{best}."


def asking(net: Network) -> str:
    """The client."""
    return """
## Asking it

    python3 -m venv .venv
    .venv/bin/python -m pip install -r requirements.txt "tritonclient[http]"
    .venv/bin/python client.py photo.jpg --url localhost:8000 --draw seen.jpg

prints a line for each thing that the server sees, best first. A request holds float32 values
[batch, 3, height, width] as `preprocessing.json` says; `client.py` is an example of one."""


def tell_outputs(net: Network, tensors: tuple[tuple[str, tuple[int, ...]], ...]) -> str:
    """A table of outputs with what they mean."""
    rows = ["| Output | Shape | Meaning |", "| --- | --- | --- |"]
    for name, shape in tensors:
        sides = " x ".join("B" if side < 0 else str(side) for side in shape) or "see model.json"
        meaning = _meanings.tell_output(net.head, net.task, name) or "not said"
        rows.append(f"| `{name}` | {sides} | {meaning} |")
    return "\n".join(rows)


def _verified(package: Described) -> str:
    net = package.network
    return f"""
## Verified, and not

`config.pbtxt` was written with Triton's own message types and read back by them. Accuracy was measured
on `{package.file.rsplit("/", 1)[-1]}` by onnxruntime on a CPU. The decoders are tested against the
build's own. Not verified:

- that a server loads and serves `{net.name}`: none was here
- `client.py` from the request on"""
