"""Package an ONNX file as a model repository for the ONNX Runtime backend of Triton Inference
Server, with a client.

The client (templates/engine/client.py) is copied unchanged; it does not need buildsys.
"""

from dataclasses import dataclass
from pathlib import Path

from buildsys.spec import BoardSpec, Format, ModelSpec, StepSpec, Templates
from buildsys.steps.lib.packages.contents import write_json
from buildsys.steps.lib.packages.network_description import (
    LOOKING,
    Network,
    network,
    write_surroundings,
)
from buildsys.steps.lib.packages.network_description import describe as describe_network
from buildsys.steps.lib.packages.triton_readme import Described, describe

_PROGRAMS = (*LOOKING, "engine/client.py")
STEP = StepSpec(
    tool_env="triton",
    consumes=(Format.ONNX, Format.QUANTIZED_ONNX),
    produces=Format.PACKAGE,
    needs=("verdict", "metrics", "calibration"),
    templates=Templates(files=_PROGRAMS),
    unverified="Not verified: Triton serving the file, and the package's client.py; no server was here.",
)
REQUIREMENTS = ("tritonclient[http]==2.73.0", "numpy>=1.22,<3", "pillow>=10.1,<13")
"""Requirements of client.py; the tritonclient version is the one whose schema config.pbtxt uses."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """No settings."""


@dataclass(frozen=True, kw_only=True)
class Params:
    """The facts for a server and the client."""

    network: Network


def plan(settings: Settings, model: ModelSpec, board: BoardSpec) -> Params:
    """Return the parameters; the package is named after the recipe (and variant)."""
    return Params(network=network(model, board.label))


def run(inputs: dict[str, Path], outputs: dict[str, Path], params: Params) -> None:
    """Write the package. `inputs`: onnx or quantized-onnx, templates, metrics-*, calibration."""
    from buildsys.steps.lib.packages import triton

    folder, net = outputs["package"], params.network
    model = inputs.get(Format.QUANTIZED_ONNX) or inputs[Format.ONNX]
    edges = triton.describe_onnx(model)
    pictures = write_surroundings(folder, net, inputs, _PROGRAMS)
    place, largest_batch = triton.serve(folder, model, triton.ONNX, net, edges)
    names = (tensor["name"] for tensor in edges["outputs"])
    facts = describe_network(net, place, folder, names)
    write_json(folder / "model.json", {**edges, **facts, "served_as": net.name})
    requirements = "\n".join(REQUIREMENTS) + "\n"
    (folder / "requirements.txt").write_text(requirements, encoding="utf-8")
    described = Described(
        network=net,
        file=facts["file"],
        bytes=place.stat().st_size,
        sha256=facts["sha256"],
        pictures=pictures,
        largest_batch=largest_batch,
        tensors=tuple((row["name"], tuple(row["shape"])) for row in edges["outputs"]),
        measured=(folder / "metrics.json").is_file(),
    )
    (folder / "README.md").write_text(describe(described), encoding="utf-8")
