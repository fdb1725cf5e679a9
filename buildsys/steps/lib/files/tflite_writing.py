"""Change a TFLite file and write it again, with the schema of LiteRT.

Converters write weights at any address, or after the flatbuffer. Kernels of microcontrollers need them at
multiples of 16, and TFLite Micro and Vela only read what is inside the flatbuffer.
"""

from typing import Any

from buildsys.steps.lib.runtime.progress import fail

_ALIGNMENT = 16
"""Bytes, of the content of a buffer (`force_align` in schema.fbs)."""


def parse(content: bytes) -> Any:
    """Return the file as objects of the schema, with the weights that follow the flatbuffer."""
    from ai_edge_litert.tools import flatbuffer_utils

    return flatbuffer_utils.read_model_from_bytearray(bytearray(content))


def serialize(model: Any) -> bytes:
    """Return the file's bytes, with every buffer inside the flatbuffer and at a multiple of 16."""
    import flatbuffers
    import numpy as np

    class Aligned(flatbuffers.Builder):  # type: ignore[misc]
        """Starts vectors of bytes, which hold the buffers, at a multiple of 16."""

        def StartVector(self, size: int, count: int, alignment: int) -> Any:  # noqa: N802
            return super().StartVector(size, count, _ALIGNMENT if size == 1 else alignment)

    for buffer in model.buffers:
        if buffer.data is not None:
            buffer.data = np.frombuffer(bytes(buffer.data), np.uint8)
    builder = Aligned(1024)
    builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
    return bytes(builder.Output())


def rename(model: Any, image: str, outputs: tuple[str, ...]) -> None:
    """Name the one input and the outputs, in file order, in the signature and as tensors."""
    (graph,), (signature,) = model.subgraphs, model.signatureDefs
    names = dict(zip((*graph.inputs, *graph.outputs), (image, *outputs), strict=True))
    for item in (*signature.inputs, *signature.outputs):
        item.name = names[item.tensorIndex]
    for index, name in names.items():
        graph.tensors[index].name = name


def replace_slices(model: Any) -> None:
    """Replace every SLICE by an equal STRIDED_SLICE with step 1; ends the step if a slice's begin or
    size is not a constant of 32-bit or 64-bit integers.

    TensorFlow's converter writes STRIDED_SLICE, and firmwares register the operators that it writes.
    """
    import numpy as np
    from ai_edge_litert import schema_py_generated as schema

    kinds, (graph,) = schema.BuiltinOperator, model.subgraphs
    slices = [
        operator
        for operator in graph.operators
        if model.operatorCodes[operator.opcodeIndex].builtinCode == kinds.SLICE
    ]
    if not slices:
        return
    code = schema.OperatorCodeT()
    code.builtinCode = code.deprecatedBuiltinCode = kinds.STRIDED_SLICE
    code.version = 1
    model.operatorCodes.append(code)
    for operator in slices:
        image, begin, size = operator.inputs
        starts, sides = (_integers(model, graph.tensors[index]) for index in (begin, size))
        whole = np.array(graph.tensors[image].shape, np.int32)
        ends = np.where(sides < 0, whole, starts + sides)
        if graph.tensors[begin].type != schema.TensorType.INT32:
            begin = _constant(model, graph, starts)
        steps = np.ones_like(ends)
        operator.inputs = [image, begin, *(_constant(model, graph, item) for item in (ends, steps))]
        operator.opcodeIndex = len(model.operatorCodes) - 1
        operator.builtinOptionsType = schema.BuiltinOptions.StridedSliceOptions
        operator.builtinOptions = schema.StridedSliceOptionsT()


def _integers(model: Any, tensor: Any) -> Any:
    """Return the content of a constant of 32-bit or 64-bit integers, as 32-bit integers."""
    import numpy as np
    from ai_edge_litert import schema_py_generated as schema

    kinds = {schema.TensorType.INT32: np.int32, schema.TensorType.INT64: np.int64}
    content = model.buffers[tensor.buffer].data
    if tensor.type not in kinds or content is None:
        fail(
            f"tensor {tensor.name.decode()}, the begin or size of a slice, is not a constant of"
            " whole numbers."
            " Cure: convert: {tool: onnx2tf}."
        )
    return np.frombuffer(bytes(content), kinds[tensor.type]).astype(np.int32)


def _constant(model: Any, graph: Any, values: Any) -> int:
    """Add a constant tensor with these 32-bit integers and return its index."""
    import numpy as np
    from ai_edge_litert import schema_py_generated as schema

    buffer, tensor = schema.BufferT(), schema.TensorT()
    buffer.data = np.frombuffer(values.tobytes(), np.uint8)
    model.buffers.append(buffer)
    tensor.name = f"slice{len(graph.tensors)}"
    tensor.type, tensor.shape = schema.TensorType.INT32, list(values.shape)
    tensor.buffer = len(model.buffers) - 1
    graph.tensors.append(tensor)
    return len(graph.tensors) - 1
