"""Comparing an imported engine with the exported network."""

from dataclasses import replace

from buildsys.operations.engine_facts import Tensor, differ
from buildsys.steps.lib.files.edge import Edge
from buildsys.steps.lib.files.onnx_header import Header


def test_another_network_is_reported() -> None:
    """Another network is reported by names first, then by shapes; an open axis matches any size."""
    wanted = Header(
        inputs=(Edge(name="images", shape=(None, 3, 8, 8), dtype="float32"),),
        outputs=(Edge(name="boxes", shape=(1, 4), dtype="float32"),),
        operators=(),
        ir=8,
        opset=17,
        external=(),
        metadata={},
        makers=(),
        steps=(),
        half=False,
    )
    images = Tensor(name="images", dtype="FLOAT", shape=(-1, 3, 8, 8))
    boxes = Tensor(name="boxes", dtype="FLOAT", shape=(1, 4))
    assert differ([images], [boxes], wanted) == ""
    told = differ([images], [replace(boxes, shape=(1, 5))], wanted)
    assert told == "has the output boxes of 1 x 5, but the network has 1 x 4"
    told = differ([replace(images, name="x")], [boxes], wanted)
    assert told == "has the inputs x, but the network has images"
