"""The README.md of a package with an engine: which library loads it, how, and what nobody tried."""

from dataclasses import dataclass

from buildsys.steps.quantize_onnx import RECOMMENDED


@dataclass(frozen=True, kw_only=True)
class Described:
    """What the text is about. `gpus`: one compute capability, or "" for every one from 8.0 on;
    `pictures`: how many calibrated, 0 where nothing was; `tensors`: name and shape of the outputs.
    """

    name: str
    label: str
    file: str
    bytes: int
    sha256: str
    scheme: str
    version: str
    gpus: str
    pictures: int
    tensors: tuple[tuple[str, tuple[int, ...]], ...]
    measured: bool


def describe(package: Described) -> str:
    """The whole text."""
    parts = (_contents(package), _loading(package), _outputs(package), _verified(package))
    return "\n\n".join(part.strip() for part in parts) + "\n"


def _contents(package: Described) -> str:
    figures = (
        "\n| `metrics.json` | accuracy, measured before the engine was built |"
        if package.measured
        else ""
    )
    pictures = (
        "\n| `calibration.json` | the pictures that int8 was calibrated on |"
        if package.pictures
        else ""
    )
    return f"""
# {package.name} for {package.label}

An engine of NVIDIA TensorRT-RTX, which is another product than TensorRT: neither loads the other's
engines.

| File | What it is |
| --- | --- |
| `{package.file}` | the engine, {package.scheme}, {package.bytes:,} bytes, sha256 `{package.sha256}` |
| `engine.json` | the library's version, GPUs, inputs and outputs |
| `run.py` | loads the engine and runs it once |
| `labels.txt` | the classes in their order, where they are known |
| `preprocessing.json` | how a photograph becomes the network's input |{figures}{pictures}
| `manifest.json` | how all of it was made |

`run.py` is under the Apache License 2.0; the network is under the licence that `manifest.json` names,
and the library under NVIDIA's."""


def _loading(package: Described) -> str:
    gpus = package.gpus or "8.0 or later"
    return f"""
## Loading it

With TensorRT-RTX {package.version} and no other version, on an NVIDIA GPU of compute capability
{gpus}:

    python3 -m venv .venv
    .venv/bin/python -m pip install tensorrt-rtx-cu13=={package.version} numpy cuda-bindings
    .venv/bin/python run.py

`run.py` refuses another version and an engine that the machine cannot load, in one sentence and with
exit code 3. On the first load the library compiles the engine for the GPU that it finds, which takes
a while. With `input.npy`, float32 [1, 3, height, width] prepared as `preprocessing.json` says,
`run.py input.npy --out outputs.npz` writes what the network answers."""


def _outputs(package: Described) -> str:
    rows = [f"| {name} | {' x '.join(map(str, shape))} |" for name, shape in package.tensors]
    table = "\n".join(("| Output | Shape |", "| --- | --- |", *rows))
    return f"## Outputs\n\nAll float32; `head` in `engine.json` says what they mean.\n\n{table}"


def _verified(package: Described) -> str:
    few = ""
    if 0 < package.pictures < RECOMMENDED:
        few = (
            f"\n- more than {package.pictures} calibration pictures; {RECOMMENDED} are recommended"
        )
    whole = ""
    if package.scheme == "int8":
        whole = """
- whether the GPU computes the convolutions in int8: the file says so by quantize and dequantize
  operators, and NVIDIA's support matrix of TensorRT-RTX lists int8 for weights of matrix products"""
    return f"""
## Verified, and not

Accuracy was measured on the ONNX file that the engine was built from, by onnxruntime on a CPU. That
`run.py` refuses another version, and a machine without a GPU, was tried. Not verified:

- the engine itself: it was built without a GPU, and never loaded or run
- `run.py` from the loaded engine on{whole}{few}"""
