"""What a given model file is, as far as it can be told without opening it in its framework."""

import os
import shlex
import zipfile
from dataclasses import dataclass
from pathlib import Path

from buildsys.authoring.facts import CheckpointFacts, read_checkpoint
from buildsys.authoring.registry import kinds
from buildsys.digest import digest_file
from buildsys.errors import Diagnostic, InputError

_FAMILIES = {
    ".pt": "ultralytics", ".pth": "ultralytics", ".onnx": "onnx", ".tflite": "tflite",
}  # fmt: skip
_TFLITE_MARK = b"TFL3"


@dataclass(frozen=True, kw_only=True)
class Probe:
    """A model file inside the workspace; `path` is relative to its root, with slashes."""

    path: str
    family: str
    sha256: str
    checkpoint: CheckpointFacts | None


def inside(root: Path, given: str, home: str) -> str:
    """`given` as recipes write it: from the workspace's root. Raises InputError where it lies outside.

    A relative path starts at the root, as in recipes; `home` is the folder to copy a stray file to.
    """
    path = Path(os.path.abspath(root / given))
    if not path.is_relative_to(root):
        path = path.parent.resolve() / path.name
    if not path.is_relative_to(root):
        copy = ["cp", str(path)] if home == "weights" else ["cp", "-r", str(path.parent)]
        words = shlex.join([*copy, f"{home}/"])
        message = "lies outside the workspace; a recipe names files inside it"
        hint = f"copy it in: mkdir -p {home} && {words}"
        raise InputError(Diagnostic(path=given, message=message, hint=hint))
    return path.relative_to(root).as_posix()


def probe(root: Path, given: str) -> Probe:
    """Family, digest and, for a checkpoint, what its pickle says; nothing in it is executed.

    Raises InputError with what is wrong and what to do.
    """
    name = inside(root, given, "weights")
    path = root / name
    if path.is_dir():
        raise _refuse(given, "is a folder; give the model file in it")
    if not path.is_file():
        raise _refuse(given, "is not here", "paths start at the workspace's root")
    family = _FAMILIES.get(path.suffix.lower())
    if family is None:
        known = ", ".join(_FAMILIES)
        raise _refuse(given, "is no model file that buildsys knows by its ending", known)
    try:
        checkpoint = _read(given, path, family)
        digest = digest_file(path)
    except OSError as error:
        raise _refuse(given, f"cannot be read: {error.strerror}") from error
    return Probe(path=name, family=family, sha256=digest, checkpoint=checkpoint)


def _read(given: str, path: Path, family: str) -> CheckpointFacts | None:
    with path.open("rb") as stream:
        start = stream.read(8)
    if not start:
        raise _refuse(given, "is empty")
    if family == "tflite" and start[4:] != _TFLITE_MARK:
        raise _refuse(given, "is no TFLite file: its first bytes say otherwise", "fetch it again")
    return _read_checkpoint(given, path) if family == "ultralytics" else None


def _read_checkpoint(given: str, path: Path) -> CheckpointFacts:
    if not zipfile.is_zipfile(path):
        hint = (
            "copy or download it again; torch before 1.6 wrote another kind, which torch converts"
        )
        raise _refuse(given, "is no PyTorch archive, or the end of it is missing", hint)
    found = read_checkpoint(path)
    if found is None:
        message = "is damaged, or holds no whole Ultralytics model"
        hint = f"give an Ultralytics best.pt, or an ONNX file; families: {', '.join(kinds('export'))}, onnx, tflite"
        raise _refuse(given, message, hint)
    return found


def _refuse(given: str, message: str, hint: str = "") -> InputError:
    return InputError(Diagnostic(path=given, message=message, hint=hint))
