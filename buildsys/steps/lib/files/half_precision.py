"""Makes an ONNX network with numbers in float16 one that computes in float32."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import onnx

_TYPE_ATTRIBUTES = ("to", "dtype")
"""Attributes that name the type of an operator's result (Cast, RandomNormal, EyeLike, …)."""


def widen(model: "onnx.ModelProto") -> None:
    """Change every float16 tensor and type of a network to float32, in all its graphs and functions.

    float32 holds each float16 value exactly; what a network computes is rounded less.
    """
    _widen_graph(model.graph)
    for function in model.functions:
        _widen_nodes(function.node)


def _widen_graph(graph: "onnx.GraphProto") -> None:
    for tensor in graph.initializer:
        _widen_tensor(tensor)
    for value in (*graph.input, *graph.output, *graph.value_info):
        _widen_type(value.type)
    _widen_nodes(graph.node)


def _widen_nodes(nodes: "Iterable[onnx.NodeProto]") -> None:
    from onnx import TensorProto

    for node in nodes:
        for attribute in node.attribute:
            if attribute.name in _TYPE_ATTRIBUTES and attribute.i == TensorProto.FLOAT16:
                attribute.i = TensorProto.FLOAT
            _widen_tensor(attribute.t)
            for tensor in attribute.tensors:
                _widen_tensor(tensor)
            for graph in (attribute.g, *attribute.graphs):
                _widen_graph(graph)


def _widen_tensor(tensor: "onnx.TensorProto") -> None:
    import numpy as np
    from onnx import TensorProto, numpy_helper

    if tensor.data_type == TensorProto.FLOAT16:
        values = numpy_helper.to_array(tensor).astype(np.float32)
        tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))


def _widen_type(kind: "onnx.TypeProto") -> None:
    from onnx import TensorProto

    if kind.tensor_type.elem_type == TensorProto.FLOAT16:
        kind.tensor_type.elem_type = TensorProto.FLOAT
