"""What recipes and plans take from the settings of steps, whichever family's they are.

Each training and each export has a `Settings` of its own; what all of them have is in `TrainSettings`
and `ExportSettings`, what only some have is a protocol by itself.
"""

import dataclasses
from typing import Any, ClassVar, Protocol, runtime_checkable


class StepSettings(Protocol):
    """The settings of any step: a frozen dataclass, checked against what was written."""

    __dataclass_fields__: ClassVar[dict[str, dataclasses.Field[Any]]]


@runtime_checkable
class TrainSettings(StepSettings, Protocol):
    """The `train` block of every family."""

    @property
    def epochs(self) -> int: ...
    @property
    def batch(self) -> int: ...
    @property
    def seed(self) -> int: ...
    @property
    def device(self) -> str: ...
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


@runtime_checkable
class QuantizationAware(Protocol):
    """A training that can imitate quantization."""

    @property
    def quantization_aware(self) -> str: ...


@runtime_checkable
class Validates(Protocol):
    """A training that can measure its epochs on the val split."""

    @property
    def validate(self) -> bool | int: ...


@runtime_checkable
class ExportSettings(StepSettings, Protocol):
    """The `export` block of every family."""

    @property
    def opset(self) -> int: ...


@runtime_checkable
class ChoosesHead(Protocol):
    """An export that can write several heads; None: the contract or the family decides."""

    @property
    def head(self) -> str | None: ...


@runtime_checkable
class TakesBatch(Protocol):
    """An export of files that take several images at once."""

    @property
    def batch(self) -> int | dict[str, int]: ...
