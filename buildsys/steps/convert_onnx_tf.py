"""Convert ONNX to a TensorFlow SavedModel with onnx-tf 1.10, and that to TFLite: float32, same
signature as onnx2tf's.

onnx-tf keeps ONNX's channels-first layout and adds a transpose before and after every convolution:
its files compute the same and are a little slower on a CPU.
"""

import itertools
import types
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from buildsys.spec import BoardSpec, Format, Intermediate, ModelSpec, Resources, StepSpec
from buildsys.steps.lib.networks import saved_model
from buildsys.steps.lib.networks.saved_model import Params
from buildsys.steps.lib.runtime.progress import fail, report

STEP = StepSpec(
    tool_env="onnx-tf",
    consumes=(Format.ONNX,),
    produces=Format.SAVED_MODEL,
    also_produces=("layouts", Intermediate.FLOAT_TFLITE),
    needs=("samples",),
    block="convert",
    resources=Resources(memory_mib=3000),
)
_NEWEST_IR = 9
"""The newest IR version that onnxruntime 1.17 opens; later ones only add number types."""
_INPUT = "the_pictures"
_NEWEST_OPSET = 13
"""The newest opset of which onnx-tf converts every operator that vision networks use."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The `convert` block has no settings for this tool."""


def plan(settings: Settings, model: ModelSpec, board: BoardSpec) -> Params:
    """Return the parameters; the file states everything else."""
    return saved_model.params_of(model)


def run(inputs: dict[str, Path], outputs: dict[str, Path], params: Params) -> None:
    """Convert a copy, compare it with onnxruntime, and save it with a transpose from NHWC in front."""
    from buildsys.steps.lib.files import finite_weights, model_files
    from buildsys.steps.lib.parity import conversion
    from buildsys.steps.lib.runtime import tensorflow_setup

    graph = model_files.load_onnx(inputs["onnx"])
    finite_weights.require_finite_onnx(graph, inputs["onnx"])
    copy = Path("model.onnx")
    _write_copy(graph, copy)  # an unreadable file is reported before TensorFlow is imported
    tf = tensorflow_setup.prepare()
    report(0, 3, "stages", "onnx-tf")
    made = _prepare(graph)
    # without its tf.function, whose AutoGraph would translate all of onnx-tf, which takes 10 s
    call = vars(type(made.tf_module))["__call__"].python_function
    names = dict(zip(made.outputs, params.output_names or made.outputs, strict=True))

    def answer(images: Any) -> dict[str, Any]:
        values = call(made.tf_module, **{_INPUT: tf.transpose(images, (0, 3, 1, 2))})
        return {name: values[key] for key, name in names.items()}

    network = _try(graph, lambda frame: saved_model.freeze(tf, answer, frame), params.preprocessing)
    report(1, 3, "stages", "comparing with the ONNX")
    for picture, wanted in saved_model.expect(copy, inputs.get("samples"), params):
        values = {name: value.numpy() for name, value in network(picture).items()}
        worst = conversion.require_close("onnx-tf", wanted, values)
    print("largest difference, ONNX against SavedModel:", worst)
    frame, folder = params.preprocessing, outputs["saved-model"]
    saved = saved_model.save(tf, network, frame, folder)
    report(2, 3, "stages", "float32 TFLite")
    target = outputs[Intermediate.FLOAT_TFLITE]
    saved_model.save_tflite(tf, saved, folder, inputs.get("samples"), frame, target)
    saved_model.write_layouts(outputs["layouts"], set())  # onnx-tf keeps the order of axes
    report(3, 3, "stages")


def _write_copy(graph: Any, target: Path) -> None:
    """Write a copy in an IR version that this environment's onnxruntime opens, with a valid input
    name.

    The input becomes a function argument, whose name must not contain a colon or a dot.
    """
    import onnx

    constants = {tensor.name for tensor in graph.graph.initializer}
    feeds = [item for item in graph.graph.input if item.name not in constants]
    if len(feeds) != 1:
        fail(
            f"this network has {len(feeds)} inputs; onnx-tf converts networks that take one image."
        )
    (feed,) = feeds
    for node in graph.graph.node:
        for place, name in enumerate(node.input):
            if name == feed.name:
                node.input[place] = _INPUT
    feed.name = _INPUT
    graph.ir_version = min(graph.ir_version, _NEWEST_IR)
    onnx.save(graph, str(target))


def _prepare(graph: Any) -> Any:
    """Return the network as a TensorFlow module whose names are the same in every run."""
    from onnx_tf import backend, common

    # Names with a colon get a random suffix, and equal networks would be saved as different bytes.
    common.uuid = types.SimpleNamespace(uuid4=itertools.count(10**7).__next__)
    _complete_handlers()
    return _try(graph, lambda model: backend.prepare(model, logging_level="WARNING"), graph)


def _complete_handlers() -> None:
    """Add what onnx-tf 1.10 lacks of opset 13, and replace what TFLite cannot read."""
    import tensorflow as tf
    from onnx_tf.handlers.backend.split import Split
    from onnx_tf.handlers.backend.squeeze import Squeeze
    from onnx_tf.handlers.backend.unsqueeze import Unsqueeze

    def split(value: Any, num_or_size_splits: Any, axis: int = 0, name: str = "split") -> Any:
        """Split by 32-bit sizes: TFLite supports no others, and ONNX has 64-bit sizes."""
        return tf.split(value, tf.cast(num_or_size_splits, tf.int32), axis, name=name)

    Split.TF_FUNC = staticmethod(split)
    for handler in (Squeeze, Unsqueeze):
        handler.version_13 = _by_attribute(handler.version_11)


def _by_attribute(handle: Any) -> Any:
    """Return a handler of opset 13, where axes are an input, made from that of opset 11."""
    import tensorflow as tf
    from onnx.backend.test.runner import BackendIsNotSupposedToImplementIt

    def handle_13(node: Any, **kwargs: Any) -> Any:
        if len(node.inputs) == 2:
            axes = tf.get_static_value(kwargs["tensor_dict"][node.inputs.pop()])
            if axes is None:
                message = f"{node.op_type} by axes that the network computes is not implemented."
                raise BackendIsNotSupposedToImplementIt(message)
            node.attrs["axes"] = axes.ravel().tolist()
        return handle(node, **kwargs)

    return staticmethod(handle_13)


def _try(graph: Any, call: Any, argument: Any) -> Any:
    """Call onnx-tf; an error names the operator and opset that it cannot convert."""
    from onnx.backend.test.runner import BackendIsNotSupposedToImplementIt
    from onnx.checker import ValidationError

    refusals = (BackendIsNotSupposedToImplementIt, NotImplementedError, RuntimeError)
    try:
        return call(argument)
    except (*refusals, ValidationError) as error:
        opset = max(item.version for item in graph.opset_import if item.domain in ("", "ai.onnx"))
        reason = (str(error).strip().splitlines() or [type(error).__name__])[-1]
        reason = reason.rpartition("ImplementIt: ")[2].strip()
        cure = "export: {opset: 13}; or " if opset > _NEWEST_OPSET else ""
        fail(
            f"onnx-tf cannot convert this network of opset {opset}: {reason} Cure: {cure}convert:"
            " {tool: onnx2tf}."
        )
