"""Write a model repository of Triton Inference Server: NAME/config.pbtxt, labels, NAME/1/model.*.

The configuration uses Triton's own message types, so that it cannot have an unknown field. Rules:
docs/user_guide/model_configuration.md and model_repository.md of
https://github.com/triton-inference-server/server.
"""

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from buildsys.steps.lib.files import model_files
from buildsys.steps.lib.packages.network_description import Network

PLAN, ONNX = "model.plan", "model.onnx"
"""File names that Triton's TensorRT and ONNX Runtime backends expect."""
REPOSITORY = "triton"
_TYPES = {
    "FLOAT": "TYPE_FP32",
    "HALF": "TYPE_FP16",
    "FLOAT16": "TYPE_FP16",
    "INT8": "TYPE_INT8",
    "UINT8": "TYPE_UINT8",
    "INT32": "TYPE_INT32",
    "INT64": "TYPE_INT64",
    "BOOL": "TYPE_BOOL",
}
"""Triton's types by TensorRT's and ONNX's names; the table "Datatypes" of model_configuration.md.
"""


@dataclass(frozen=True, kw_only=True)
class Tensor:
    """An input or output: `shape` with the batch axis, -1 if that is dynamic; `dtype`: a key of
    `_TYPES`.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str


@dataclass(frozen=True, kw_only=True)
class Served:
    """The facts for a server. `file`: PLAN or ONNX; `batch`: (min, opt, max) images."""

    name: str
    file: str
    task: str
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    classes: tuple[str, ...]
    batch: tuple[int, int, int]


def model_place(name: str, file: str) -> str:
    """Return the path of the model in a package."""
    return f"{REPOSITORY}/{name}/1/{file}"


def serve(
    package: Path, model: Path, file: str, net: Network, tensors: dict[str, list[dict[str, Any]]]
) -> tuple[Path, int]:
    """Write a package's repository with the model; returns the path of the model, and the largest
    batch that the server assembles. `tensors`: inputs and outputs in the form of engine-facts or
    `describe_onnx`.
    """
    served = Served(
        name=net.name,
        file=file,
        task=net.task,
        classes=net.classes,
        batch=net.batch,
        inputs=read_tensors(tensors["inputs"]),
        outputs=read_tensors(tensors["outputs"]),
    )
    write_repository(package, model, served)
    return package / model_place(net.name, file), largest_batch(served)


def read_tensors(rows: list[dict[str, Any]]) -> tuple[Tensor, ...]:
    """Read the tensors of engine-facts, or of `describe_onnx`."""
    return tuple(
        Tensor(name=row["name"], shape=tuple(row["shape"]), dtype=row["dtype"]) for row in rows
    )


def write_repository(package: Path, model: Path, served: Served) -> None:
    """Write `package`/triton/NAME with everything that a server reads."""
    from google.protobuf import text_format

    place = package / model_place(served.name, served.file)
    place.parent.mkdir(parents=True)
    shutil.copyfile(model, place)
    folder = place.parents[1]
    text = text_format.MessageToString(configure(served))
    (folder / "config.pbtxt").write_text(text, encoding="utf-8")
    if served.classes:
        labels = "\n".join(served.classes) + "\n"
        (folder / "labels.txt").write_text(labels, encoding="utf-8")


def configure(served: Served) -> Any:
    """Return the ModelConfig."""
    from tritonclient.grpc import model_config_pb2 as messages

    config = messages.ModelConfig(name=served.name, max_batch_size=largest_batch(served))
    if served.file == PLAN:
        config.platform = "tensorrt_plan"
    else:
        config.backend = "onnxruntime"
    batched = config.max_batch_size > 0
    for tensors, rows in ((served.inputs, config.input), (served.outputs, config.output)):
        for tensor in tensors:
            dims = tensor.shape[1:] if batched else tensor.shape
            kind = messages.DataType.Value(_TYPES[tensor.dtype])
            rows.add(name=tensor.name, data_type=kind, dims=dims)
    if served.task == "classify" and served.classes:
        config.output[0].label_filename = "labels.txt"  # for classification outputs
    if batched:
        best = served.batch[1]
        config.dynamic_batching.preferred_batch_size.extend([best] if best > 1 else [])
        config.dynamic_batching.SetInParent()
    return config


def largest_batch(served: Served) -> int:
    """Return the largest batch of Triton's own batching, which uses any size from one on; 0 without
    batching. Without it the configuration's shapes are the model's own, including the batch axis.
    """
    least, _, most = served.batch
    every = (*served.inputs, *served.outputs)
    is_open = all(tensor.shape[0] < 0 for tensor in every)
    return most if is_open and least == 1 and most > 1 else 0


def describe_onnx(path: Path) -> dict[str, list[dict[str, Any]]]:
    """Return {"inputs", "outputs"}: name, shape with -1 for a dynamic axis, dtype by ONNX's name.
    Ends the step if it is not an ONNX file.
    """
    graph = model_files.load_onnx(path).graph
    held = {tensor.name for tensor in graph.initializer}
    sides = {"inputs": graph.input, "outputs": graph.output}
    return {
        side: [_describe(value) for value in values if value.name not in held]
        for side, values in sides.items()
    }


def _describe(value: Any) -> dict[str, Any]:
    import onnx

    tensor = value.type.tensor_type
    shape = [d.dim_value if d.HasField("dim_value") else -1 for d in tensor.shape.dim]
    dtype = onnx.TensorProto.DataType.Name(tensor.elem_type)
    return {"name": value.name, "shape": shape, "dtype": dtype}
