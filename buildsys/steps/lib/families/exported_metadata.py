"""Read the metadata that Ultralytics writes into exported files: task, classes, keypoints, size.

In an ONNX file it is in `metadata_props`, in a TFLite file it is a text in an archive after the
flatbuffer (ultralytics/engine/exporter.py). Files may come from anyone: text in another form than
expected is ignored. Only the standard library is used, because `buildsys check` reads it.
"""

import ast
import json
import re
import zipfile
from pathlib import Path

from buildsys.spec import METRICS, CheckpointFacts
from buildsys.steps.lib.datasets.labels import is_class_name

_LARGEST = 1 << 20
"""Maximum size of the text in bytes."""
_MOST_CLASSES = 10_000
_SHARED_KEYPOINTS = (8, 3, 26)
"""The first version of Ultralytics whose TFLite files have keypoints as shares of the image, like
their boxes (`kpts_decode` in ultralytics/nn/modules/head.py).
"""


def describe_export(metadata: dict[str, str]) -> CheckpointFacts | None:
    """Return the facts in a file's metadata; None if it names neither task nor classes."""
    task, names = metadata.get("task", ""), _names(metadata.get("names", ""))
    if task not in METRICS or not names:
        return None
    shape = _numbers(metadata.get("kpt_shape", ""))
    points, dims = (shape[0], shape[1]) if task == "pose" and len(shape) == 2 else (0, 0)
    size = _numbers(metadata.get("imgsz", ""))
    return CheckpointFacts(
        task=task,
        names=names,
        keypoints=points,
        keypoint_dims=dims,
        size=size[0] if size else 0,
    )


def has_suppression(metadata: dict[str, str]) -> bool:
    """Return whether the file was exported with `nms=True`."""
    arguments = _value(metadata.get("args", ""))
    return isinstance(arguments, dict) and arguments.get("nms") is True


def has_pixel_keypoints(metadata: dict[str, str]) -> bool:
    """Return whether a TFLite file has its keypoints in pixels, and its boxes as shares of the
    image; False without a version.
    """
    found = re.fullmatch(r"(\d{1,9})\.(\d{1,9})\.(\d{1,9})\b.*", metadata.get("version", ""))
    if found is None or metadata.get("task") != "pose":
        return False
    return tuple(map(int, found.groups())) < _SHARED_KEYPOINTS


def tflite_metadata(path: Path) -> dict[str, str]:
    """Return the metadata after a TFLite flatbuffer, all values as text; {} if there is none."""
    try:
        with zipfile.ZipFile(path) as archive:
            infos = [info for info in archive.infolist() if info.file_size <= _LARGEST]
            text = archive.read(infos[0]).decode() if infos else ""
    except (OSError, ValueError, zipfile.BadZipFile, NotImplementedError, RuntimeError):
        return {}
    value = _value(text)
    return {str(key): str(item) for key, item in value.items()} if isinstance(value, dict) else {}


def _names(text: str) -> tuple[str, ...]:
    names = _value(text)
    if isinstance(names, dict):
        numbered = {int(key): name for key, name in names.items() if str(key).isdecimal()}
        names = [numbered[key] for key in sorted(numbered)] if len(numbered) == len(names) else None
    if not isinstance(names, list) or not 0 < len(names) <= _MOST_CLASSES:
        return ()
    return (
        tuple(names) if all(isinstance(name, str) and is_class_name(name) for name in names) else ()
    )


def _is_number(key: object) -> bool:
    return type(key) is int


def _numbers(text: str) -> tuple[int, ...]:
    found = _value(text)
    found = [found] if isinstance(found, int) else found
    if not isinstance(found, list | tuple) or not all(map(_is_number, found)):
        return ()
    return tuple(found)


def _value(text: str) -> object:
    """Return a value in Python or JSON notation; None for any other text. Nothing is executed."""
    if not 0 < len(text) <= _LARGEST:
        return None
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        pass
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return None
