"""A network with fixed weights that detects bright spots."""

NETWORK = """\
import sys
import numpy as np
from onnx import TensorProto as T, helper as h, numpy_helper as n, save
SIDE = 96
nodes, outputs, values = [], [], []
for stride in (8, 16, 32):
    cells = (SIDE // stride) ** 2
    bright, dark = (20, -14) if stride == 8 else (0, -20)
    bins = np.full(64, -20, np.float32)
    bins[1::16] = 20  # every side one stride long
    heads = {"box": (64, 0, bins), "cls": (1, bright, np.array([dark], np.float32))}
    for name, (rows, gain, bias) in heads.items():
        head = f"{name}_s{stride}"
        kernel = np.full((rows, 3, stride, stride), gain / (3 * stride**2), np.float32)
        shape = np.array([1, rows, cells])
        for part, value in (("w", kernel), ("b", bias), ("shape", shape)):
            values.append(n.from_array(value, f"{head}.{part}"))
        sides = dict(kernel_shape=[stride] * 2, strides=[stride] * 2)
        given = ["images", f"{head}.w", f"{head}.b"]
        nodes += [
            h.make_node("Conv", given, [f"{head}.1"], **sides),
            h.make_node("Reshape", [f"{head}.1", f"{head}.shape"], [f"{head}.2"]),
            h.make_node("Transpose", [f"{head}.2"], [head], perm=[0, 2, 1]),
        ]
        outputs.append(h.make_tensor_value_info(head, T.FLOAT, [1, cells, rows]))
outputs.sort(key=lambda output: output.name[:3] == "cls")  # the order of the canonical head
images = [h.make_tensor_value_info("images", T.FLOAT, [1, 3, SIDE, SIDE])]
graph = h.make_graph(nodes, "bright", images, outputs, values)
save(h.make_model(graph, opset_imports=[h.make_opsetid("", 13)], ir_version=8), sys.argv[1])
"""
"""Detects bright cells of 8 x 8 pixels; the letterbox's grey is too dark."""
LIVELY = (
    NETWORK.replace("(64, 0, bins)", "(64, 1, bins)")
    .replace("(0, -20)", "(20, -40)")
    .replace("np.full(64, -20, np.float32)", "np.linspace(-20, -10, 64).astype(np.float32)")
)
"""No output is constant or saturated, which the signal check would reject in int8."""

BRIGHT = """\
name: bright
source:
  family: onnx
  task: detect
  weights: {path: bright.onnx}
  decoder: yolov8-raw
  classes: [spot]
input: {size: 96}
evaluate: none
targets: [onnx-file, host]
"""
ONNX_FILE = """\
name: onnx-file
label: the ONNX file itself
pipelines: {float32: [package_files]}
"""
