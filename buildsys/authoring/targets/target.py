"""Reads target files and firmware contracts: boards as data."""

from pathlib import Path
from typing import Annotated

from pydantic import Field, StrictStr

from buildsys.authoring.syntax.document import Document, read_document
from buildsys.authoring.syntax.scope import Layer, Scope
from buildsys.authoring.syntax.validation import Block, parse
from buildsys.authoring.syntax.values import NAME, Scheme, Task
from buildsys.authoring.targets.contract import Contract
from buildsys.authoring.targets.slots import Flash, check_slot
from buildsys.errors import InputError

Name = Annotated[StrictStr, Field(pattern=f"^{NAME}$")]


class Target(Block):
    """One target file."""

    name: Name
    extends: Name | None = None
    label: StrictStr
    pipelines: Annotated[
        dict[Scheme, Annotated[tuple[StrictStr, ...], Field(min_length=1)]], Field(min_length=1)
    ]
    vela: dict[str, object] | None = None
    tensorrt: dict[str, object] | None = None
    firmware: dict[Task, StrictStr] = {}
    flash: Flash | None = None


def read_target(path: Path, label: str, base: Document | None) -> tuple[Target, Scope]:
    """Return a target file merged with the one that it extends. Raises InputError."""
    document = read_document(path, label)
    layers = [Layer(document=document)]
    if base is not None:
        layers.insert(0, Layer(document=base, leave_out=("name", "extends")))
    scope = Scope(layers=tuple(layers))
    data = scope.merged() if isinstance(document.data, dict) else document.data
    target = parse(Target, data, (), scope.locate)
    _check_name(target.name, document, path)
    return target, scope


def read_contract(path: Path, label: str) -> tuple[Contract, Document]:
    """Return a firmware contract. Raises InputError."""
    document = read_document(path, label)
    contract = parse(Contract, document.data, (), document.diagnose)
    _check_name(contract.name, document, path)
    misplaced = check_slot(contract.slot, contract.name, document.diagnose)
    if misplaced:
        raise InputError(*misplaced)
    return contract, document


def _check_name(name: str, document: Document, path: Path) -> None:
    """Raise InputError where `name` differs from the file's name."""
    if name != path.stem:
        message = f"`name` is {name}, but the file is named {path.stem}.yaml"
        raise InputError(document.diagnose(("name",), message))
