"""ONNX file -> serialized engine, by TensorRT's Python API: `python -s _engine_program.py request.json`.

A program of its own that knows nothing of buildsys. TensorRT-RTX 1.7 orders the outputs in a float16
engine's tables by addresses: the same network, built twice in one process, gives two files. In a
process of its own, whose addresses the kernel does not shuffle (see `settle`) and whose arguments
and environment are always the same, so are the bytes.

request.json: {"module", "onnx", "engine", "facts", "error", "compute_capability": "" | "8.9",
"workspace_gib", "batch": [min, opt, max]}; the facts are written as JSON: version of the library, inputs and outputs. Exit
codes: 0 done, 3 a sentence stands in the file `error`.
"""

import ctypes
import importlib
import json
import sys
from pathlib import Path
from typing import Any

_ADDR_NO_RANDOMIZE = 0x0040000
"""Linux' personality(2)."""
_QUERY = 0xFFFFFFFF


class Refused(Exception):
    """A sentence about the network or the settings."""


def settle() -> bool:
    """Programs that this process starts get the same addresses each time; False where the kernel
    does not allow it, as in a container with a strict seccomp profile.
    """
    personality = getattr(ctypes.CDLL(None), "personality", None)
    if personality is None:
        return False
    current = personality(ctypes.c_ulong(_QUERY))
    allowed = personality(ctypes.c_ulong(current | _ADDR_NO_RANDOMIZE)) if current >= 0 else -1
    return bool(allowed >= 0)


def main() -> int:
    """Build, and write what was built."""
    request = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    try:
        engine, facts = build(importlib.import_module(request["module"]), request)
    except Refused as error:
        Path(request["error"]).write_text(str(error), encoding="utf-8")
        return 3
    Path(request["engine"]).write_bytes(engine)
    Path(request["facts"]).write_text(json.dumps(facts), encoding="utf-8")
    return 0


def build(trt: Any, request: dict[str, Any]) -> tuple[bytes, dict[str, Any]]:
    """The engine and the facts. Raises Refused."""
    logger = _make_logger(trt)
    builder = trt.Builder(logger)
    # a strongly typed network has the file's own types; other kinds are gone since TensorRT 11
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = trt.OnnxParser(network, logger)
    if not parser.parse(Path(request["onnx"]).read_bytes()):
        raise Refused(f"the ONNX parser refuses the network: {_parser_errors(parser)}")
    config = _configure(trt, builder, request)
    _profile(trt, builder, network, config, request["batch"])
    facts = {  # told before the builder reorders them
        "version": trt.__version__,
        "inputs": [_describe(network.get_input(i)) for i in range(network.num_inputs)],
        "outputs": [_describe(network.get_output(i)) for i in range(network.num_outputs)],
    }
    engine = builder.build_serialized_network(network, config)
    if engine is None:
        raise Refused(f"the builder gives no engine: {logger.last or 'it does not say why'}")
    return bytes(engine), facts


def _configure(trt: Any, builder: Any, request: dict[str, Any]) -> Any:
    config = builder.create_builder_config()
    config.clear_flag(trt.BuilderFlag.TF32)  # on by default, and float32 would have 10 bits
    config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, request["workspace_gib"] << 30)
    capability = request["compute_capability"]
    if capability:
        chosen = getattr(trt.ComputeCapability, f"SM{capability.replace('.', '')}")
        config.num_compute_capabilities = 1
        if not config.set_compute_capability(chosen, 0):
            raise Refused(f"the library does not build for compute capability {capability}")
    return config


def _profile(trt: Any, builder: Any, network: Any, config: Any, batch: list[int]) -> None:
    """One optimization profile where the first axis is open; every other one has to be settled."""
    profile = None
    for index in range(network.num_inputs):
        tensor = network.get_input(index)
        first, *rest = tuple(tensor.shape) or (1,)
        if min(rest, default=1) < 0:
            shape = " x ".join("?" if side < 0 else str(side) for side in tensor.shape)
            raise Refused(f"its input {tensor.name} is open ({shape}); export it with fixed sizes")
        if first < 0:
            profile = profile or builder.create_optimization_profile()
            profile.set_shape(tensor.name, *((count, *rest) for count in batch))
    if profile is not None and config.add_optimization_profile(profile) < 0:
        raise Refused(f"the library takes no batch of {batch[0]} to {batch[2]}")


def _describe(tensor: Any) -> dict[str, Any]:
    return {
        "name": tensor.name, "shape": list(tensor.shape), "dtype": str(tensor.dtype).split(".")[-1],
    }  # fmt: skip


def _parser_errors(parser: Any) -> str:
    """What it says of the first mistake, and at which node."""
    if not parser.num_errors:
        return "it does not say why"
    error = parser.get_error(0)
    place = f" (node {error.node_name()}, {error.node_operator()})" if error.node_operator() else ""
    return _one_line(error.desc()) + place


def _one_line(text: str) -> str:
    return " ".join(text.split())[:300].rstrip(". ")


def _make_logger(trt: Any) -> Any:
    """Prints what matters, and keeps the last error."""

    class Logger(trt.ILogger):  # type: ignore[misc]
        def __init__(self) -> None:
            trt.ILogger.__init__(self)
            self.last = ""

        def log(self, severity: Any, message: str) -> None:
            if severity <= trt.ILogger.Severity.ERROR:
                self.last = _one_line(message)
            if severity <= trt.ILogger.Severity.WARNING:
                print(f"{severity.name.lower()}: {message}")

    return Logger()


if __name__ == "__main__":
    sys.path.pop(0)  # a step's module is no library
    sys.exit(main())
