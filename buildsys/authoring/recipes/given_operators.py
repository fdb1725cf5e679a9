"""Checks the operators of a finished file against its runtime, before a step's library fails."""

from buildsys.authoring.recipes.build import Build
from buildsys.authoring.recipes.given_file import GivenFile, OnnxFile, TfliteFile
from buildsys.authoring.recipes.model import board_spec, least_opset, runs_on_micro
from buildsys.authoring.recipes.pipelines import made_on_the_way
from buildsys.spec import Format
from buildsys.steps.lib.files import onnx_operators, tflite_schema
from buildsys.text import did_you_mean, first_of

_SHOWN = 3
_FLEX = "Flex"
"""Prefix of the names of operators that only TensorFlow itself could run."""


def find_problem(build: Build, file: GivenFile) -> tuple[str, str] | None:
    """Return a file's first missing operator or version, as a message without its name, and what to
    do.
    """
    if isinstance(file, TfliteFile):
        return _find_in_tflite(build, file)
    return _find_version(build, file) or _find_in_onnx(build, file)


def _find_in_tflite(build: Build, file: TfliteFile) -> tuple[str, str] | None:
    micro, name = runs_on_micro(build), build.target.name
    runtime = "TFLite Micro" if micro else "LiteRT"
    customs = tflite_schema.MICRO_CUSTOMS if micro else tflite_schema.LITERT_CUSTOMS
    known = {*tflite_schema.BUILTIN_OPERATORS, *customs, *board_spec(build).operators}
    foreign = {
        operator: layers
        for operator, layers in file.layers
        if operator not in known and not operator.startswith("operator ")
    }
    if not foreign:
        return None
    listed = first_of(
        [f"{each} ({', '.join(layers[:1])})" for each, layers in foreign.items()], _SHOWN
    )
    message = f"has operators that {runtime}, which runs on {name}, does not have: {listed}"
    if all(each.startswith(_FLEX) for each in foreign):
        hint = "convert it again with TFLite's own operators alone (OpsSet.TFLITE_BUILTINS)"
    else:
        hint = "convert it again without custom operators, or give the network as ONNX"
    return message, hint


def _find_version(build: Build, file: OnnxFile) -> tuple[str, str] | None:
    """Check the version of the format and of its operators against the libraries that open the
    file.
    """
    converted = Format.SAVED_MODEL in made_on_the_way(build.target, build.recipe)
    most = onnx_operators.versions("onnx2tf" if converted else "evaluate")
    what = "the conversion to TFLite" if converted else "onnxruntime"
    again = f"export it again with opset {most.opset} or lower"
    if file.opset is None:
        return "does not declare the opset of its operators", again
    if file.opset > most.opset:
        return f"uses opset {file.opset}; {what} supports at most {most.opset}", again
    if file.opset < onnx_operators.LEAST_OPSET:
        message = (
            f"uses opset {file.opset}; onnxruntime needs at least {onnx_operators.LEAST_OPSET}"
        )
        return message, "export it again with opset 13 or higher"
    if file.opset < least_opset(build):
        message = f"uses opset {file.opset}; int8 on {build.target.name} needs {least_opset(build)}"
        return message, f"export it again with opset {least_opset(build)} or higher"
    if file.ir > most.ir:
        message = f"has ONNX file version (IR) {file.ir}; {what} supports at most {most.ir}"
        return message, f"{again}, or by an older release of onnx"
    return None


def _find_in_onnx(build: Build, file: OnnxFile) -> tuple[str, str] | None:
    engines = build.tensorrt is not None
    foreign, unknown, early = [], [], []
    for domain, name in file.operators:
        first = onnx_operators.known().get(name, 0)
        if engines and (name.endswith("_TRT") or "TRT" in domain):
            continue  # TensorRT's plugins
        if domain:
            foreign += [f"{name} ({domain})"] * (domain not in onnx_operators.DOMAINS)
        elif not first:
            unknown.append(name)
        elif file.opset is not None and first > file.opset:
            early.append(f"{name} (opset {first})")
    if foreign:
        message = (
            f"has custom operators, which onnxruntime does not have: {first_of(foreign, _SHOWN)}"
        )
        return message, "export it again with standard ONNX operators"
    if unknown:
        hint = did_you_mean(unknown[0], onnx_operators.known(), 0.8)
        return f"has operators that ONNX does not have: {first_of(unknown, _SHOWN)}", hint
    if early:
        message = (
            f"uses opset {file.opset}, but has operators of later opsets: {first_of(early, _SHOWN)}"
        )
        return message, "export it again with that opset"
    return None
