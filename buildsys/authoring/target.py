"""Targets and firmware contracts: boards as data."""

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, StrictBool, StrictStr

from buildsys.authoring.document import Document, read_document
from buildsys.authoring.recipe import NAME, Count, Scheme, Task
from buildsys.authoring.validation import Block, validate
from buildsys.errors import Diagnostic, InputError

Name = Annotated[StrictStr, Field(pattern=f"^{NAME}$")]


class Flash(Block):
    """How the vendor's tool brings a file onto the board."""

    method: Literal["xmodem", "esptool", "none"]


class Target(Block):
    """One target file."""

    name: Name
    label: StrictStr
    pipelines: Annotated[
        dict[Scheme, Annotated[tuple[StrictStr, ...], Field(min_length=1)]], Field(min_length=1)
    ]
    vela: dict[str, Any] | None = None
    firmware: dict[Task, StrictStr] = {}
    flash: Flash | None = None


class Contract(Block):
    """What a firmware decodes; `null` in `classes` and `keypoint_values` means any number."""

    name: Annotated[StrictStr, Field(pattern=r"^[a-z0-9][a-z0-9.-]*$")]
    label: StrictStr
    task: Task
    head: Literal["raw", "decoded"]
    output_order: tuple[StrictStr, ...] = ()
    classes: Count | None = None
    refused_classes: tuple[Count, ...] = ()
    keypoint_values: Count | None = None
    keypoint_dims: Count | None = None
    square: StrictBool = True
    io: Literal["int8", "float32"] = "int8"
    operators: tuple[StrictStr, ...] = ()
    arena_kib: Count | None = None
    source: StrictStr
    verified: StrictBool
    notes: tuple[StrictStr, ...] = ()


def read_target(path: Path, label: str) -> tuple[Target, Document]:
    """A target file; raises InputError."""
    target, document = _read(Target, path, label)
    return target, document


def read_contract(path: Path, label: str) -> tuple[Contract, Document]:
    """A firmware contract; raises InputError."""
    contract, document = _read(Contract, path, label)
    return contract, document


def yaml_files(folder: Path) -> dict[str, Path]:
    """Files by their stem."""
    return {path.stem: path for path in sorted(folder.glob("*.yaml"))}


def _read(kind: Any, path: Path, label: str) -> tuple[Any, Document]:
    document = read_document(path, label)
    result = validate(kind, document.data, (), document.diagnose)
    if isinstance(result, list):
        raise InputError(*result)
    if result.name != path.stem:
        raise InputError(_misnamed(document, result.name, path.stem))
    return result, document


def _misnamed(document: Document, name: str, stem: str) -> Diagnostic:
    return document.diagnose(("name",), f"`name` is {name}, the file's name says {stem}")
