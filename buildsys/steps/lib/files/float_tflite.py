"""The float32 TFLite file that a converter from ONNX makes, or the reason why there is none."""

from pathlib import Path

from buildsys.steps.lib.runtime.progress import fail

_MARK = "no float32 TFLite file: "
_OPERATORS = "ops:"
"""In the line of TensorFlow's message that names what TFLite lacks, after pages of its graph."""
_LONGEST = 300


def write_reason(target: Path, error: Exception) -> None:
    """Write the reason to the file and to the log, as one line."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    named = [line for line in lines if _OPERATORS in line] or lines or [type(error).__name__]
    reason = f"{_MARK}{named[0][:_LONGEST]}"
    print(reason)
    target.write_text(reason, encoding="utf-8")


def demand(file: Path) -> None:
    """End the step with the converter's reason if it made no file."""
    with file.open("rb") as stream:
        start = stream.read(len(_MARK) + 4 * _LONGEST)
    if start.startswith(_MARK.encode()):
        reason = start.decode(errors="replace").removeprefix(_MARK)
        fail(f"TFLite cannot compute this network: {reason}")
