"""Write the SavedModel that every converter from ONNX produces, and its float32 TFLite file, and
compare both with the ONNX file.

Signature `serving_default`: input `images` float32 [1, height, width, 3] in 0..1, outputs float32
under their canonical names. Later steps do not depend on which tool made it.
"""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from buildsys.spec import ModelSpec, Preprocessing
from buildsys.steps.lib.files import float_tflite
from buildsys.steps.lib.runtime.progress import StepError

if TYPE_CHECKING:
    import numpy as np

CHANNELS_LAST = "NHWC"
Answer = Callable[[Any], dict[str, Any]]
"""A function: images float32 [1, h, w, 3] in 0..1 as a tensor -> tensors by canonical name."""


@dataclass(frozen=True, kw_only=True)
class Params:
    """The names of the SavedModel's outputs, and the preparation of sample images."""

    output_names: tuple[str, ...]
    preprocessing: Preprocessing


def params_of(model: ModelSpec) -> Params:
    """Return the parameters; the file states everything else."""
    assert model.preprocessing is not None
    names = tuple(tensor.name for tensor in model.outputs)
    return Params(output_names=names, preprocessing=model.preprocessing)


def expect(
    onnx_path: Path, samples: Path | None, params: Params
) -> "Iterator[tuple[np.ndarray, dict[str, np.ndarray]]]":
    """Yield sample images float32 [1, h, w, 3] in 0..1, each with onnxruntime's outputs for it."""
    from buildsys.steps.lib.files import model_files
    from buildsys.steps.lib.images import prepared_images
    from buildsys.steps.lib.networks import onnx_session

    session = model_files.open_session(onnx_path)
    names = params.output_names or tuple(output.name for output in session.get_outputs())
    feed = session.get_inputs()[0].name
    for picture in prepared_images.load(samples, params.preprocessing):
        values = onnx_session.ask(session, onnx_path, feed, prepared_images.to_nchw(picture[None]))
        yield prepared_images.to_nhwc(picture[None]), dict(zip(names, values, strict=True))


def write_layouts(target: Path, turned: set[str]) -> None:
    """Write JSON {output: "NHWC"} for the outputs of four axes whose channels the converter moved
    to the end.
    """
    layouts = dict.fromkeys(sorted(turned), CHANNELS_LAST)
    target.write_text(json.dumps(layouts, indent=1, sort_keys=True) + "\n", encoding="utf-8")


def freeze(
    tf: ModuleType, network: Callable[[Any], Any], frame: Preprocessing
) -> Callable[[Any], Any]:
    """Return a network of one image, float32 [1, h, w, 3] in 0..1, as one graph whose weights are
    constants, unless it changes variables.

    TensorFlow saves and loads such a graph in a fraction of the time that layers take.
    """
    from tensorflow.python.framework import convert_to_constants

    try:  # AutoGraph would translate the converter's Python code, which takes seconds
        function = _trace(tf, tf.autograph.experimental.do_not_convert(network), frame)
    except TypeError:  # that code branches on a tensor
        function = _trace(tf, network, frame)
    frozen = function
    if not _assigns(function.graph.as_graph_def()):  # as recurrent layers of onnx-tf do
        frozen = convert_to_constants.convert_variables_to_constants_v2(
            function, lower_control_flow=False
        )

    def answer(images: Any) -> Any:
        values = tf.nest.flatten(frozen(tf.convert_to_tensor(images)))
        return tf.nest.pack_sequence_as(function.structured_outputs, values)

    return answer


def _assigns(graph: Any) -> bool:
    """Return whether a graph changes variables, which cannot be constants then."""
    functions = (function.node_def for function in graph.library.function)
    return any(node.op.startswith("Assign") for nodes in (graph.node, *functions) for node in nodes)


def save(tf: ModuleType, answer: Answer, frame: Preprocessing, folder: Path) -> Answer:
    """Write the SavedModel of a function that calls a frozen network, and return the function that is
    in it.
    """
    module = tf.Module()
    module.serve = _trace(tf, answer, frame)
    module.kept = list(module.serve.graph.variables)  # of a network that assigns them
    tf.saved_model.save(module, str(folder), signatures={"serving_default": module.serve})
    # It only holds a random identifier, which would make the bytes of equal models differ.
    (folder / "fingerprint.pb").unlink(missing_ok=True)
    saved: Answer = module.serve
    return saved


def save_tflite(
    tf: ModuleType,
    network: Answer,
    folder: Path,
    samples: Path | None,
    frame: Preprocessing,
    target: Path,
) -> None:
    """Write the float32 TFLite file of a SavedModel, which computes the same as `network`, the
    SavedModel's function, on sample images.

    Where TFLite cannot, the file has the reason instead: the SavedModel itself may ship, and only steps
    that read the file end with it.
    """
    from tensorflow.lite.python.convert import ConverterError

    try:
        content = tf.lite.TFLiteConverter.from_saved_model(str(folder)).convert()
        _compare(tf, network, content, samples, frame)
    except (ConverterError, StepError) as error:  # others, as of memory, may not come again
        float_tflite.write_reason(target, error)
    else:
        target.write_bytes(content)


def _compare(
    tf: ModuleType, network: Answer, content: bytes, samples: Path | None, frame: Preprocessing
) -> None:
    from buildsys.steps.lib.images import prepared_images
    from buildsys.steps.lib.parity import conversion
    from buildsys.steps.lib.runtime import tensorflow_setup

    figures: dict[str, float] = {}
    for picture in prepared_images.load(samples, frame):
        image = prepared_images.to_nhwc(picture[None])
        wanted = {name: value.numpy() for name, value in network(tf.constant(image)).items()}
        found = tensorflow_setup.run_tflite(content, image, reference_kernels=False)
        figures = conversion.require_close("TFLite conversion", wanted, found)
    print("largest difference, SavedModel against float32 TFLite:", figures)


def _trace(tf: ModuleType, function: Callable[[Any], Any], frame: Preprocessing) -> Any:
    picture = tf.TensorSpec((1, frame.height, frame.width, 3), tf.float32, name="images")
    return tf.function(function, input_signature=[picture]).get_concrete_function()
