"""Checks a finished file against recipe and target before it is converted: its inputs and
outputs.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from buildsys.authoring.recipes.build import Build
from buildsys.authoring.recipes.families import decoders
from buildsys.authoring.recipes.given_file import Edge, GivenFile, OnnxFile, TfliteFile
from buildsys.authoring.recipes.given_operators import find_problem
from buildsys.authoring.recipes.model import (
    assign_outputs,
    board_spec,
    model_spec,
    runs_on_micro,
)
from buildsys.authoring.recipes.pipelines import made_on_the_way
from buildsys.authoring.syntax.document import KeyPath
from buildsys.authoring.syntax.validation import Locate
from buildsys.errors import Diagnostic
from buildsys.spec import Format
from buildsys.steps import check_contract, check_operators
from buildsys.steps.bind_outputs import contract_params
from buildsys.steps.lib.files.edge import settled_sides
from buildsys.steps.lib.files.tflite import Tensor
from buildsys.steps.lib.heads.formulas import find_strides
from buildsys.steps.lib.heads.given_outputs import (
    CLASSIFIED,
    CONTRADICTION_CURE,
    PIXEL_KEYPOINTS,
    PIXEL_KEYPOINTS_CURE,
    find_contradiction,
)
from buildsys.steps.lib.heads.outputs import head_outputs
from buildsys.text import first_of

_AT: KeyPath = ("source", "weights")
_MOST_CLASSES = 1200
"""Largest number of classes that is tried, above that of any known dataset."""
_SHOWN = 5
_ANEW = "export it again"
_SOFTMAX = "Softmax"
_ENDINGS = {
    "yolov8-decoded": ("softmax",),
    "yolov8-raw": (
        *("add", "batchmatmul", "conv", "conv2d", "depthwiseconv2d", "fullyconnected", "gemm"),
        *("logsoftmax", "matmul"),
    ),
    "none": ("logistic", "sigmoid"),
}
"""The last operators of classifiers by the decoder that reads what they give; `none`: a probability of
its own for each class. What other operators give is unknown.
"""
_OTHER_FILE = (
    "give the .pt file or an ONNX file: TFLite files that Ultralytics exports from 8.4.83 take"
    " channels first (NCHW)"
)


@dataclass(frozen=True, kw_only=True)
class _Given:
    """The common values of all checks: the file, its name in the recipe, the place of messages."""

    build: Build
    file: GivenFile
    locate: Locate
    index: int

    @property
    def name(self) -> str:
        """Return the file's name in the recipe."""
        return self.build.recipe.source.weights.path or ""

    def at_file(self, message: str, hint: str, severity: str = "error") -> Diagnostic:
        """Return a diagnostic at the line that names the file."""
        at = (*_AT, "path")
        return self.locate(at, f"{self.name} {message}", hint, severity=severity)


def check_given(build: Build, locate: Locate, index: int) -> list[Diagnostic]:
    """Return every contradiction between file, recipe and target; nothing if the file is
    missing.
    """
    if build.given is None:
        return []
    given = _Given(build=build, file=build.given, locate=locate, index=index)
    problems = [*_check_whole(given), *_check_input(given), *_check_words(given)]
    problems = problems or _check_outputs(given)
    problems = problems or _check_firmware(given)
    return problems or [*_warn_suppression(given), *_check_last_operator(given)]


def _check_whole(given: _Given) -> list[Diagnostic]:
    """Check that the one file that a recipe names is the whole network, without more."""
    file, build = given.file, given.build
    if isinstance(file, OnnxFile) and file.suppresses and runs_on_micro(build):
        message = (
            "suppresses overlapping boxes itself (NMS); TFLite Micro, which runs on"
            f" {build.target.name}, has no operator for that"
        )
        return [given.at_file(message, f"{_ANEW} with nms=False")]
    problems = []
    if isinstance(file, OnnxFile) and file.external:
        beside, one = file.external[0], given.name.removesuffix(".onnx")
        message = f"keeps its weights in another file, {beside}; a recipe names one file"
        hint = (
            f"put both into one: python -c \"import onnx; onnx.save(onnx.load('{given.name}'),"
            f" '{one}-whole.onnx')\""
        )
        problems.append(given.at_file(message, hint))
    if foreign := find_problem(build, file):
        problems.append(given.at_file(*foreign))
    return problems


def _check_input(given: _Given) -> list[Diagnostic]:
    """Check the image input that every step fills; without a size in the recipe, no step does."""
    block, file = given.build.recipe.input, given.file
    if block is None:
        return []
    if len(file.inputs) != 1:
        names = ", ".join(map(str, file.inputs)) or "none"
        message = (
            f"has {len(file.inputs)} inputs ({names}); with `input` a file must take one image"
        )
        hint = "remove `input` if another program feeds it" if file.inputs else _ANEW
        return [given.at_file(message, hint)]
    (image,) = file.inputs
    if image.shape is None:
        return []  # the file leaves the whole shape open
    problem = _check_layout(given, image) or _check_type(given, image)
    if problem:
        return [problem]
    return [*_check_batch(given, image), *_check_size(given, image)]


def _check_layout(given: _Given, image: Edge) -> Diagnostic | None:
    """Check for NCHW in ONNX and NHWC in TFLite; other layouts are recognized by three channels."""
    first = isinstance(given.file, OnnxFile)
    wanted = "[1, 3, height, width]" if first else "[1, height, width, 3]"
    shape = image.sides
    if len(shape) != 4:
        message = f"takes {image}, which is not an image {wanted}"
        return given.at_file(message, "remove `input` if another program feeds it")
    channels, other = (shape[1], shape[3]) if first else (shape[3], shape[1])
    if channels in (3, None):
        return None
    if other == 3:
        hint = f"{_ANEW}, channels first (NCHW)" if first else _OTHER_FILE
        return given.at_file(f"takes {image}; buildsys gives images as {wanted}", hint)
    message = f"takes images of {channels} channel{'s' if channels != 1 else ''} ({image});"
    hint = f"{_ANEW} for three channels"
    if Format.SAVED_MODEL not in made_on_the_way(given.build.target, given.build.recipe):
        hint += ", or remove `input` if another program feeds it"
    return given.at_file(f"{message} buildsys gives three: RGB", hint)


def _check_type(given: _Given, image: Edge) -> Diagnostic | None:
    """Check that ONNX takes float32, also made of float16 before a conversion; TFLite may take any
    type with a scale.
    """
    if isinstance(given.file, TfliteFile):
        return _check_scale(given, image)
    converted = Format.SAVED_MODEL in made_on_the_way(given.build.target, given.build.recipe)
    if image.dtype == "float32" or (image.dtype == "float16" and converted):
        return None
    hint = f"{_ANEW} with float32 at its edges"
    if image.dtype == "float16":
        hint = f"{_ANEW} with half=False; `quantization: {{scheme: float16}}` makes it smaller here"
    message = f"takes {image.dtype} images ({image}); buildsys gives float32 in 0..1"
    return given.at_file(message, hint)


def _lack_scale(tensors: Iterable[Tensor]) -> list[str]:
    """Return the names of integer tensors without a scale: what their values mean is unknown."""
    integers = [tensor for tensor in tensors if "float" not in tensor.dtype]
    return [tensor.name for tensor in integers if not any(tensor.scales)]


def _check_scale(given: _Given, image: Edge) -> Diagnostic | None:
    assert isinstance(given.file, TfliteFile)
    if not _lack_scale(given.file.file.inputs):
        return None
    message = f"takes {image.dtype} images without a scale ({image}); buildsys gives images in 0..1"
    hint = "convert it again with a scale and a zero point, or remove `input` if another program feeds it"
    return given.at_file(message, hint)


def _check_batch(given: _Given, image: Edge) -> list[Diagnostic]:
    """Check that the file takes one image; an open axis of an ONNX file becomes one."""
    count = image.sides[0]
    onnx = isinstance(given.file, OnnxFile)
    converted = Format.SAVED_MODEL in made_on_the_way(given.build.target, given.build.recipe)
    if count == 1 or (onnx and (count is None or not converted)):
        return []
    if count is None:
        message = f"has a dynamic batch size ({image})"
        hint = "convert it again with a fixed shape [1, height, width, 3]"
        return [given.at_file(message, hint)]
    message = (
        f"takes {count} images at once ({image}); files for {given.build.target.name} must take one"
    )
    return [given.at_file(message, f"{_ANEW} with batch=1")]


def _check_size(given: _Given, image: Edge) -> list[Diagnostic]:
    block = given.build.recipe.input
    assert block is not None
    if given.file.size == block.size:
        return []
    onnx = isinstance(given.file, OnnxFile)
    height, width = image.sides[2:] if onnx else image.sides[1:3]
    if (height is None or width is None) and onnx:
        return []  # fixed to the recipe's size
    if height is None or width is None:
        message = f"has a dynamic image size ({image})"
        return [given.at_file(message, "convert it again with a fixed shape [1, height, width, 3]")]
    size = f"{height}" if height == width else f"[{height}, {width}]"
    message = (
        f"{given.name} takes images of {height} x {width} pixels, but the recipe gives"
        f" {block.size[0]} x {block.size[1]}"
    )
    return [given.locate(("input", "size"), message, f"size: {size}")]


def _check_words(given: _Given) -> list[Diagnostic]:
    """Compare task and classes of the recipe with those that the exporter wrote into the file."""
    source, stated = given.build.recipe.source, given.file.stated
    if stated is None:
        return []
    if source.task is not None and source.task != stated.task:
        message = f"`task` is {source.task}, but {given.name} is a {stated.task} network"
        return [given.locate(("source", "task"), message, f"write `task: {stated.task}`")]
    if not source.classes or source.classes == stated.names:
        return []
    at: KeyPath = ("source", "classes")
    if len(source.classes) != len(stated.names):
        message = (
            f"`classes` names {len(source.classes)}, but {given.name} has {_counted(len(stated.names))}:"
            f" {first_of(stated.names, _SHOWN)}"
        )
        return [given.locate(at, message, "remove `classes`: the file names its own")]
    if sorted(source.classes) == sorted(stated.names):
        message = (
            f"`classes` has a different order than {given.name}: {first_of(stated.names, _SHOWN)}"
        )
        return [given.locate(at, message, "remove `classes`: the file names its own")]
    return []


def _check_outputs(given: _Given) -> list[Diagnostic]:
    """Compare the outputs with those of the decoder that the recipe names."""
    build, file = given.build, given.file
    source, model = build.recipe.source, model_spec(build)
    frame, at = model.preprocessing, ("source", "decoder")
    if source.decoder == "none" or frame is None:
        return []
    if file.suppresses:
        message = (
            f"{given.name} suppresses overlapping boxes itself (NMS): decoder {source.decoder}"
            " reads what comes before that"
        )
        hint = f"{_ANEW} with nms=False, or write `decoder: none`"
        return [given.locate(at, message, hint)]
    if isinstance(file, TfliteFile) and file.pixel_keypoints:
        message = f"{given.name} {PIXEL_KEYPOINTS}"
        return [given.locate(at, message, PIXEL_KEYPOINTS_CURE)]
    if isinstance(file, TfliteFile) and (unscaled := _lack_scale(file.file.outputs)):
        message = (
            f"has integer outputs without a scale ({', '.join(unscaled)}): decoder"
            f" {source.decoder} reads real numbers"
        )
        return [given.at_file(message, "convert it again, or write `decoder: none`")]
    assigned = assign_outputs(model.outputs, file)
    if not model.outputs or assigned is not None:
        own_names = tuple(edge.name for edge in file.outputs)
        names = tuple(tensor.name for tensor in assigned or ())
        contradiction = find_contradiction(own_names, names) if names else ""
        return [given.at_file(contradiction, CONTRADICTION_CURE)] if contradiction else []
    own = _own_classes(given, model.keypoints, model.keypoint_dims)
    found = ", ".join(map(str, file.outputs))
    if own and own != len(model.classes):
        listed = bool(source.classes)
        what = f"`classes` names {len(model.classes)}" if listed else ""
        what = what or f"the dataset has {_counted(len(model.classes))}"
        message = f"{what}, but {given.name} has the outputs of {own}: {found}"
        hint = f"list all {own}, in the file's order: classes: […]"
        place: KeyPath = ("source", "classes") if listed else at
        return [given.locate(place, message, hint)]
    expected = ", ".join(f"{each.name} {list(each.shape)}" for each in model.outputs)
    message = (
        f"decoder {source.decoder} reads {expected} for {_counted(len(model.classes))},"
        f" but {given.name} has {found}"
    )
    hint = _decoder_hint(given)
    return [given.locate(at, message, hint)]


def _warn_suppression(given: _Given) -> list[Diagnostic]:
    """Warn about NMS in the file before a decoder is written: none reads what it gives."""
    if not given.file.suppresses or "decoder" in given.build.recipe.source.model_fields_set:
        return []
    message = "suppresses overlapping boxes itself (NMS): no decoder reads its outputs, and accuracy is not measured"
    hint = f"{_ANEW} with nms=False, or write `decoder: none`"
    return [given.at_file(message, hint, severity="warning")]


def _check_last_operator(given: _Given) -> list[Diagnostic]:
    """Compare the last operator of a classifier with the decoder: logits or probabilities."""
    source, model = given.build.recipe.source, model_spec(given.build)
    names = tuple(output.name for output in model.outputs)
    word = classify_decoder(given.file)
    if source.decoder == "none" or names not in CLASSIFIED or not word:
        return []
    reads_probabilities = names == CLASSIFIED[0]
    if word == ("yolov8-decoded" if reads_probabilities else "yolov8-raw"):
        return []
    has_softmax = word == "yolov8-decoded"
    ending = _SOFTMAX if has_softmax else f"{given.file.makers[0]}, not in {_SOFTMAX}"
    reads = "probabilities with the sum 1"
    if not reads_probabilities:
        reads = f"logits, and applies {'another' if has_softmax else 'a'} {_SOFTMAX}"
    message = f"{given.name} ends in {ending}: decoder {source.decoder} reads {reads}"
    return [given.locate(("source", "decoder"), message, f"decoder: {word}", severity="warning")]


def _own_classes(given: _Given, keypoints: int, dims: int) -> int:
    """Return the number of classes in the outputs under the recipe's decoder; 0 if none fits."""
    source, block = given.build.recipe.source, given.build.recipe.input
    assert block is not None
    head, task = decoders()[source.decoder], source.task or ""
    for classes in range(1, _MOST_CLASSES):
        if _has_head(given.file, head, block.size, classes, keypoints, dims, task):
            return classes
    return 0


def _decoder_hint(given: _Given) -> str:
    """Return the hint: a decoder that fits the outputs, or `none`."""
    model, task = model_spec(given.build), given.build.recipe.source.task or ""
    frame, counts = model.preprocessing, (model.keypoints, model.keypoint_dims)
    assert frame is not None
    size = (frame.height, frame.width)
    for word, head in decoders().items():
        if head == "none" or not model.classes:
            continue
        if _has_head(given.file, head, size, len(model.classes), *counts, task):
            return f"decoder: {word}"
    return "write `decoder: none` if you have your own decoder"


def _has_head(
    file: GivenFile,
    head: str,
    size: tuple[int, int],
    classes: int,
    keypoints: int,
    dims: int,
    task: str,
) -> bool:
    """Return whether a file's outputs are those of a head, for the strides of its cells."""
    cells = find_strides(settled_sides(file.outputs), (), *size)
    wanted = head_outputs(head, *size, classes, keypoints, dims, task, cells)
    return assign_outputs(wanted, file) is not None


def _check_firmware(given: _Given) -> list[Diagnostic]:
    """Check a given TFLite file by the rules that steps apply to a file they made."""
    build, given_file = given.build, given.file
    if not isinstance(given_file, TfliteFile) or build.contract is None:
        return []
    board = board_spec(build)
    failures: Iterable[object] = ()
    if board.contract is not None:
        verdict = check_contract.judge(given_file.file, contract_params(model_spec(build), board))
        failures = verdict["failures"] if isinstance(verdict["failures"], list) else ()
    problems = [f"{given.name}: {failure}" for failure in failures]
    if not problems and build.vela is None:
        params = check_operators.Params(
            firmware=board.firmware, operators=board.operators, accelerator=""
        )
        found = check_operators.judge_list(dict(given_file.layers), params)
        problems = [f"{given.name}: {text}" for text in found]
    at: KeyPath = ("firmware",) if build.recipe.firmware else ("targets", given.index)
    return [given.locate(at, text, "use another file, or another `firmware`") for text in problems]


def _counted(classes: int) -> str:
    return f"{classes} class{'es' if classes != 1 else ''}"


def classify_decoder(file: GivenFile) -> str:
    """Return the decoder of a classifier by its last operator; empty if that does not decide."""
    maker = next(iter(file.makers), "").removeprefix("QLinear").removeprefix("Q")
    plain = maker.replace("_", "").lower()
    return next((word for word, endings in _ENDINGS.items() if plain in endings), "")


def guess_decoder(file: GivenFile) -> str:
    """Return the value of `source.decoder` that fits the outputs of a file with metadata; empty:
    none.

    Decoders may differ only in the unit of boxes and keypoints: Ultralytics' TFLite files have
    shares of the image (ultralytics/utils/export/tensorflow.py), its ONNX files pixels.
    """
    stated, size = file.stated, file.size
    if stated is None or file.suppresses:
        return ""
    if isinstance(file, TfliteFile) and file.pixel_keypoints:
        return ""
    size = size or ((stated.size, stated.size) if stated.size else None)
    if size is None:
        return ""
    counts = (len(stated.names), stated.keypoints, stated.keypoint_dims)
    found = [
        word
        for word, head in decoders().items()
        if head != "none" and _has_head(file, head, size, *counts, stated.task)
    ]
    if stated.task == "classify" and any(file.makers):
        word = classify_decoder(file)
        return word if word in found else ""
    usual = "yolov8-normalized" if isinstance(file, TfliteFile) else "yolov8-decoded"
    return usual if usual in found else next(iter(found), "")
