"""Package an engine: the engine, its facts, and programs that run it.

An engine of TensorRT is in a model repository of Triton Inference Server, from which the programs
also load it: one copy. Triton cannot load an engine of TensorRT-RTX, which is next to the programs.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from buildsys.spec import BoardSpec, Format, ModelSpec, StepSpec, Templates
from buildsys.steps import build_engine
from buildsys.steps.lib.packages.contents import write_json
from buildsys.steps.lib.packages.engine_readme import Described, describe
from buildsys.steps.lib.packages.network_description import (
    LOOKING,
    Network,
    network,
    write_surroundings,
)
from buildsys.steps.lib.packages.network_description import describe as describe_network

_PROGRAMS = (
    *LOOKING,
    "engine/benchmark.py",
    "engine/client.py",
    "engine/cudart.py",
    "engine/requirements.txt",
    "engine/run.py",
    "engine/runtime.py",
    "common/figures.py",
)
STEP = StepSpec(
    # The environment with Triton's schema, if Triton can serve the engine.
    tool_env=lambda params: "triton" if params.library == "tensorrt" else "",
    consumes=(Format.ENGINE,),
    produces=Format.PACKAGE,
    needs=("engine-facts", "verdict", "metrics", "calibration"),
    block="tensorrt",
    templates=Templates(files=_PROGRAMS),
    unverified=(
        "Not verified: the package's programs behind loading the library, and any server of the engine; no"
        " GPU and no server were here."
    ),
)
_TRITON = "engine/client.py"
_IGPU_UNTIL = (10, 7)
"""The last TensorRT version of JetPack 6, whose containers have a suffix (NVIDIA's support matrices of 10.7 to
10.14).
"""
Settings = build_engine.Settings


@dataclass(frozen=True, kw_only=True)
class Params:
    """The facts for the package. `library`: tensorrt | tensorrt-rtx; the other fields state which
    versions and GPUs load the engine, as in build_engine's settings.
    """

    network: Network
    library: str
    version_compatible: bool
    hardware_compatibility: str


def plan(settings: Settings, model: ModelSpec, board: BoardSpec) -> Params:
    """Return the parameters; the package is named after the recipe (and variant)."""
    return Params(
        network=network(model, board.label),
        library=settings.library,
        version_compatible=settings.version_compatible,
        hardware_compatibility=settings.hardware_compatibility,
    )


def run(inputs: dict[str, Path], outputs: dict[str, Path], params: Params) -> None:
    """Write the package. `inputs`: engine, engine-facts, templates, metrics-*, calibration."""
    import json

    folder, net, served = outputs["package"], params.network, params.library == "tensorrt"
    programs = tuple(name for name in _PROGRAMS if served or name != _TRITON)
    pictures = write_surroundings(folder, net, inputs, programs)
    facts: dict[str, Any] = json.loads(inputs["engine-facts"].read_text(encoding="utf-8"))
    facts.pop("timing_cache", None)  # it only concerns the machine that built the engine
    place, largest_batch = _place(inputs["engine"], folder, facts, params)
    names = (tensor["name"] for tensor in facts["outputs"])
    facts |= describe_network(net, place, folder, names)
    facts |= {
        "version_compatible": params.version_compatible,
        "hardware_compatibility": params.hardware_compatibility,
        "served_as": net.name if served else "",
    }
    write_json(folder / "engine.json", facts)
    described = Described(
        network=net,
        library=params.library,
        version=facts["version"],
        file=facts["file"],
        bytes=place.stat().st_size,
        sha256=facts["sha256"],
        pictures=pictures,
        newer=params.version_compatible,
        gpus=_gpus(facts, params),
        largest_batch=largest_batch,
        tensors=tuple((tensor["name"], tuple(tensor["shape"])) for tensor in facts["outputs"]),
        measured=(folder / "metrics.json").is_file(),
        jetson=params.library == "tensorrt" and _is_jetpack_6(facts),
        lowered=net.scheme != "float32" and "metrics-quantized-onnx" not in inputs,
    )
    (folder / "README.md").write_text(describe(described), encoding="utf-8")


def _place(engine: Path, folder: Path, facts: dict[str, Any], params: Params) -> tuple[Path, int]:
    """Copy the engine to its place; returns its path, and the largest batch that a server
    assembles.
    """
    import shutil

    from buildsys.steps.lib.packages import triton

    net = params.network
    if params.library != "tensorrt":
        shutil.copyfile(engine, folder / f"{net.name}.engine")
        return folder / f"{net.name}.engine", 0
    return triton.serve(folder, engine, triton.PLAN, net, facts)


def _is_jetpack_6(facts: dict[str, Any]) -> bool:
    """Return whether the engine was built on a Jetson with JetPack 6 or older."""
    version = tuple(int(part) for part in str(facts["version"]).split(".")[:2])
    return facts["compute_capability"] in build_engine.JETSONS and version <= _IGPU_UNTIL


def _gpus(facts: dict[str, Any], params: Params) -> str:
    """Return which NVIDIA GPUs load the engine, as text that follows "of"."""
    capability = str(facts["compute_capability"])
    if not capability or params.hardware_compatibility == "ampere-plus":
        return "compute capability 8.0 or later"
    named = f", as it was built on: {facts['gpu']}" if facts.get("gpu") else ""
    return f"compute capability {capability}{named}"
