"""Finds the model among a package's files: one file, or for a SavedModel, one folder."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from buildsys.digest import digest_bytes, digest_file
from buildsys.execution.store.tree_index import encode_index

_FORMATS = {
    ".tflite": "tflite",
    ".onnx": "onnx",
    ".pt": "checkpoint",
    ".engine": "engine",
    ".plan": "engine",
}
_SAVED_MODEL = "saved_model.pb"


@dataclass(frozen=True, kw_only=True)
class Model:
    """A shipped model; for a folder, `bytes` is the sum and `sha256` that of its index (see the
    store).
    """

    name: str
    bytes: int
    sha256: str
    format: str


def find_model(files: Mapping[str, tuple[int, str]]) -> Model | None:
    """Return the model among files {path in the package: (bytes, sha256)}; the first by name, or
    None.
    """
    for name in sorted(files):
        size, digest = files[name]
        if PurePosixPath(name).name == _SAVED_MODEL:
            return _folder(PurePosixPath(name).parent, files)
        if (kind := _FORMATS.get(PurePosixPath(name).suffix)) is not None:
            return Model(name=name, bytes=size, sha256=digest, format=kind)
    return None


def files_below(folder: Path) -> dict[str, tuple[int, str]]:
    """Return {path in the folder: (bytes, sha256)} of all regular files in a folder."""
    return {
        path.relative_to(folder).as_posix(): (path.stat().st_size, digest_file(path))
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not path.is_symlink()
    }


def digest_model(path: Path) -> str:
    """Return the sha256 of a model's file or folder. Raises OSError."""
    if not path.is_dir():
        return digest_file(path)
    return digest_bytes(encode_index([(name, *row) for name, row in files_below(path).items()]))


def _folder(place: PurePosixPath, files: Mapping[str, tuple[int, str]]) -> Model:
    entries = [
        (PurePosixPath(name).relative_to(place).as_posix(), *files[name])
        for name in files
        if PurePosixPath(name).is_relative_to(place)
    ]
    return Model(
        name=place.as_posix(),
        bytes=sum(size for _, size, _ in entries),
        sha256=digest_bytes(encode_index(entries)),
        format="saved-model",
    )
