"""Which model file a build has published, by its manifest."""

import json
import re
from dataclasses import dataclass
from pathlib import Path

from buildsys.authoring.document import did_you_mean
from buildsys.digest import digest_file
from buildsys.engine.places import Workspace
from buildsys.engine.publish import build_folder
from buildsys.errors import Diagnostic, InputError

_MODELS = {".tflite": "tflite", ".onnx": "onnx", ".pt": "checkpoint", ".engine": "engine"}
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, kw_only=True)
class Published:
    """The file that a build ships, or, by its digest alone, one that it shipped before.

    `bytes` is None for an earlier file: nobody knows it any more.
    """

    build: str
    name: str
    bytes: int | None
    sha256: str
    format: str


def find_published(workspace: Workspace, build: str, sha256: str = "") -> Published:
    """By the build's manifest; with `sha256` an earlier file of the same name. Raises InputError."""
    published = _ids(workspace)
    if build not in published:
        message = "is not published: there is no file to measure"
        hint = did_you_mean(build, published) if published else "nothing is; build it first"
        raise InputError(Diagnostic(path=build, message=message, hint=hint))
    folder = build_folder(workspace, build)
    name, digest, size = _shipped(folder, build)
    kind = _MODELS[Path(name).suffix]
    if sha256 in ("", digest):
        _check_intact(folder / name, build, digest)
        return Published(build=build, name=name, bytes=size, sha256=digest, format=kind)
    if not _SHA256.fullmatch(sha256):
        message, hint = "a sha256 is 64 hexadecimal digits", "that of the file which ran"
        raise InputError(Diagnostic(path=f"--sha256 {sha256}", message=message, hint=hint))
    return Published(build=build, name=name, bytes=None, sha256=sha256, format=kind)


def _ids(workspace: Workspace) -> list[str]:
    """Every build whose folder is there."""
    found = sorted(workspace.build.glob("[!.]*/[!.]*/manifest.json"))
    return [f"{path.parent.parent.name}@{path.parent.name}" for path in found]


def _shipped(folder: Path, build: str) -> tuple[str, str, int]:
    """Name, digest and size of the model that the manifest lists."""
    try:
        files = json.loads((folder / "manifest.json").read_bytes())["files"]
        models = sorted(name for name in files if Path(name).suffix in _MODELS)
        entry = files[models[0]]
        return models[0], str(entry["sha256"]), int(entry["bytes"])
    except (OSError, ValueError, KeyError, TypeError, IndexError) as error:
        message, hint = "its manifest names no model file", f"doit build:{build} makes it anew"
        raise InputError(Diagnostic(path=build, message=message, hint=hint)) from error


def _check_intact(path: Path, build: str, digest: str) -> None:
    try:
        found = digest_file(path)
    except OSError as error:
        message = f"{path.name} cannot be read: {error.strerror}"
        raise InputError(
            Diagnostic(path=build, message=message, hint=f"doit build:{build}")
        ) from error
    if found != digest:
        message = f"{path.name} is not the file that its manifest names: it was changed by hand"
        raise InputError(Diagnostic(path=build, message=message, hint=f"doit build:{build}"))
