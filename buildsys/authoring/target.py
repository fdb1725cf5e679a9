"""Targets and firmware contracts: boards as data."""

from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, StrictBool, StrictStr

from buildsys.authoring.document import Document, did_you_mean, read_document
from buildsys.authoring.recipe import NAME, Count, Scheme, Task
from buildsys.authoring.registry import shipped_targets
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
    pipelines: dict[Scheme, tuple[StrictStr, ...]]
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


def target_files(workspace: Path) -> dict[str, Path]:
    """Targets by name: the shipped ones, joined by the workspace's own."""
    return _files(workspace, "")


def contract_files(workspace: Path) -> dict[str, Path]:
    """Firmware contracts by name."""
    return _files(workspace, "firmware")


def read_target(path: Path, label: str) -> tuple[Target, Document]:
    """A target file; raises InputError."""
    target, document = _read(Target, path, label)
    return target, document


@cache
def read_contract(path: Path, label: str) -> Contract:
    """A firmware contract; raises InputError."""
    contract: Contract = _read(Contract, path, label)[0]
    return contract


def unknown(name: str, what: str, known: dict[str, Path]) -> tuple[str, str]:
    """Message and hint for a name that nothing has."""
    return f"there is no {what} `{name}`", did_you_mean(name, known)


def _files(workspace: Path, folder: str) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for root in (shipped_targets(), workspace / "targets"):
        for path in sorted((root / folder).glob("*.yaml")):
            found.setdefault(path.stem, path)
    return found


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
