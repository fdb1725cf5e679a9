"""The signal check of the file that an engine is built from: are its outputs intact? Pure."""

from buildsys.graph import Input
from buildsys.planning import ladder
from buildsys.planning.plan_builder import PlanBuilder
from buildsys.planning.plan_steps import output
from buildsys.registry import read_step
from buildsys.spec import Format
from buildsys.steps import examine_onnx


def judge_precision(builder: PlanBuilder) -> None:
    """Compare an ONNX file of lower precision with the float file on the same images."""
    images = ladder.probe(builder)
    names = tuple(tensor.name for tensor in builder.model.outputs)
    reading = ladder.reading(builder)
    params = examine_onnx.Params(
        names=names,
        head=reading.head,
        classes=reading.classes,
        keypoints=reading.keypoints,
        keypoint_dims=reading.keypoint_dims,
        preprocessing=reading.preprocessing,
        scheme=reading.scheme,
        trained=reading.trained,
        count=ladder.IMAGES,
    )
    inputs: dict[str, Input] = {
        name: builder.artifacts[name] for name in (Format.QUANTIZED_ONNX, Format.ONNX)
    }
    inputs |= {Format.PICTURES: images} if images else {}
    step = builder.add("signal", read_step(examine_onnx), params, inputs)
    builder.artifacts["verdict-signal"] = output(step, Format.VERDICT)
