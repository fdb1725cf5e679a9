"""Settings of training and export steps that recipes and plans read, for every family.

Each training and each export has its own `Settings`; the common part is in `TrainSettings` and
`ExportSettings`, optional parts are protocols.
"""

import dataclasses
from functools import cache
from typing import Any, ClassVar, Protocol, TypeGuard

from buildsys.graph import Device


class StepSettings(Protocol):
    """The settings of any step: a frozen dataclass, checked against what was written."""

    __dataclass_fields__: ClassVar[dict[str, dataclasses.Field[Any]]]


class TrainSettings(StepSettings, Protocol):
    """The `train` block of every family."""

    @property
    def epochs(self) -> int: ...
    @property
    def batch(self) -> int: ...
    @property
    def seed(self) -> int: ...
    @property
    def device(self) -> Device: ...
    @property
    def size(self) -> int | None: ...
    @property
    def learning_rate(self) -> float: ...
    @property
    def mosaic(self) -> float: ...
    @property
    def flip(self) -> float: ...
    @property
    def scale(self) -> float: ...
    @property
    def threads(self) -> int: ...


class QuantizationAware(Protocol):
    """A training that can imitate quantization."""

    @property
    def quantization_aware(self) -> str: ...


class Validates(Protocol):
    """A training that can measure its epochs on the val split."""

    @property
    def validate(self) -> bool | int: ...


class ExportSettings(StepSettings, Protocol):
    """The `export` block of every family."""

    @property
    def opset(self) -> int: ...


class ChoosesHead(Protocol):
    """An export that can write several heads; None: the contract or the family decides."""

    @property
    def head(self) -> str | None: ...


class ChoosesBranch(Protocol):
    """An export of networks that may have two branches; None: the contract or the network
    decides.
    """

    @property
    def branch(self) -> str | None: ...


class TakesBatch(Protocol):
    """An export of files that take several images at once."""

    @property
    def batch(self) -> int | dict[str, int]: ...


def is_training(settings: StepSettings | None) -> TypeGuard[TrainSettings]:
    """Return whether these are the settings of a training."""
    return _has(settings, TrainSettings)


def is_export(settings: StepSettings | None) -> TypeGuard[ExportSettings]:
    """Return whether these are the settings of an export."""
    return _has(settings, ExportSettings)


def is_quantization_aware(settings: StepSettings | None) -> TypeGuard[QuantizationAware]:
    """Return whether the training can imitate quantization."""
    return _has(settings, QuantizationAware)


def validates(settings: StepSettings | None) -> TypeGuard[Validates]:
    """Return whether the training can measure its epochs."""
    return _has(settings, Validates)


def chooses_head(settings: StepSettings | None) -> TypeGuard[ChoosesHead]:
    """Return whether the export can write several heads."""
    return _has(settings, ChoosesHead)


def chooses_branch(settings: StepSettings | None) -> TypeGuard[ChoosesBranch]:
    """Return whether the export can write one of two branches."""
    return _has(settings, ChoosesBranch)


def takes_batch(settings: StepSettings | None) -> TypeGuard[TakesBatch]:
    """Return whether the export can write files that take several images at once."""
    return _has(settings, TakesBatch)


def _has(settings: object, protocol: Any) -> bool:
    """Return whether settings have all members of a protocol.

    `isinstance` would look up every member in every value; values of one class have the same
    fields.
    """
    kind: Any = type(settings)
    return _members(protocol) <= _fields(kind)


@cache
def _fields(kind: type) -> frozenset[str]:
    known = dataclasses.fields(kind) if dataclasses.is_dataclass(kind) else ()
    return frozenset(field.name for field in known)


@cache
def _members(protocol: type) -> frozenset[str]:
    """Return the properties of a protocol and of those that it extends."""
    found = (item for kind in protocol.__mro__ for item in vars(kind).items())
    return frozenset(name for name, item in found if isinstance(item, property))
