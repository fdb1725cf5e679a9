"""Reading a TFLite flatbuffer: tensors at its edges and its operators.

The schema's classes come with LiteRT, or with TFLite Micro: with what the environment has.
"""

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from buildsys.steps.lib.files.model_files import demand_tflite


@dataclass(frozen=True, kw_only=True)
class Tensor:
    """An input or output: signature name (else the tensor's), shape, dtype, quantization."""

    name: str
    shape: tuple[int, ...]
    dtype: str
    scales: tuple[float, ...]
    zero_points: tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class File:
    """What a TFLite file says of itself; `operators` counts by name, custom ones by their code."""

    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    operators: tuple[tuple[str, int], ...]


def schema() -> Any:
    """The classes that flatc generated from TFLite's schema."""
    try:
        from ai_edge_litert import schema_py_generated
    except ModuleNotFoundError:
        from tflite_micro.tensorflow.lite.micro.python import schema_py_generated
    return schema_py_generated


def open_model(path: Path, data: bytearray) -> Any:
    """The root of a file's flatbuffer `data`; ends the step when the file is no TFLite file."""
    demand_tflite(path)
    return schema().Model.GetRootAs(data, 0)


def read(path: Path) -> File:
    """Inputs, outputs in file order, operators."""
    model = open_model(path, bytearray(path.read_bytes()))
    graph = model.Subgraphs(0)
    names = signature_names(model)
    return File(
        inputs=tuple(_tensor(graph, index, names) for index in graph.InputsAsNumpy()),
        outputs=tuple(_tensor(graph, index, names) for index in graph.OutputsAsNumpy()),
        operators=_count_operators(model, graph),
    )


def signature_names(model: Any) -> dict[int, str]:
    """{tensor index: the name that the signature gives it}."""
    names = {}
    for i in range(model.SignatureDefsLength()):
        signature = model.SignatureDefs(i)
        for j in range(signature.InputsLength()):
            names[signature.Inputs(j).TensorIndex()] = signature.Inputs(j).Name().decode()
        for j in range(signature.OutputsLength()):
            names[signature.Outputs(j).TensorIndex()] = signature.Outputs(j).Name().decode()
    return names


def _tensor(graph: Any, index: int, names: dict[int, str]) -> Tensor:
    tensor = graph.Tensors(index)
    dtypes = {v: k.lower() for k, v in vars(schema().TensorType).items() if isinstance(v, int)}
    quantization = tensor.Quantization()
    scaled = quantization is not None and quantization.ScaleLength()
    return Tensor(
        name=names.get(index, tensor.Name().decode()),
        shape=tuple(tensor.ShapeAsNumpy().tolist()),
        dtype=dtypes[tensor.Type()],
        scales=tuple(quantization.ScaleAsNumpy().tolist()) if scaled else (),
        zero_points=tuple(quantization.ZeroPointAsNumpy().tolist()) if scaled else (),
    )


def read_operators(path: Path) -> dict[str, tuple[str, ...]]:
    """{operator: the layers that it came from}, layers named by their first output's tensor."""
    model = open_model(path, bytearray(path.read_bytes()))
    layers: dict[str, tuple[str, ...]] = {}
    for number in range(model.SubgraphsLength()):
        graph = model.Subgraphs(number)
        for i in range(graph.OperatorsLength()):
            operator = graph.Operators(i)
            name = _operator_name(model, operator)
            outputs = operator.OutputsLength()
            name_of = graph.Tensors(operator.Outputs(0)).Name().decode() if outputs else f"#{i}"
            layer = name_of.partition(";")[0]  # fused layers are joined by semicolons
            layers[name] = (*layers.get(name, ()), layer)
    return dict(sorted(layers.items()))


def read_payloads(path: Path, custom: str) -> tuple[bytes, ...]:
    """The first input's content of every custom operator of that code."""
    model = open_model(path, bytearray(path.read_bytes()))
    graph = model.Subgraphs(0)
    found = []
    for i in range(graph.OperatorsLength()):
        operator = graph.Operators(i)
        if _operator_name(model, operator) == custom and operator.InputsLength():
            buffer = model.Buffers(graph.Tensors(operator.Inputs(0)).Buffer())
            found.append(buffer.DataAsNumpy().tobytes() if buffer.DataLength() else b"")
    return tuple(found)


def _count_operators(model: Any, graph: Any) -> tuple[tuple[str, int], ...]:
    counts: dict[str, int] = {}
    for i in range(graph.OperatorsLength()):
        name = _operator_name(model, graph.Operators(i))
        counts[name] = counts.get(name, 0) + 1
    return tuple(sorted(counts.items()))


def _operator_name(model: Any, operator: Any) -> str:
    """The schema's name, or a custom operator's own code."""
    code = model.OperatorCodes(operator.OpcodeIndex())
    name = _builtin_names()[max(code.BuiltinCode(), code.DeprecatedBuiltinCode())]
    return code.CustomCode().decode() if name == "CUSTOM" else name


def builtin_names() -> tuple[str, ...]:
    """Every operator of TensorFlow Lite's own."""
    return tuple(name for name in _builtin_names().values() if name != "CUSTOM")


@cache
def _builtin_names() -> dict[int, str]:
    return {v: k for k, v in vars(schema().BuiltinOperator).items() if isinstance(v, int)}
