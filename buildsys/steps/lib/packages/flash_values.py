"""What a flash plan speaks of: the board, its firmware, the model's region in flash."""

from dataclasses import dataclass

from buildsys.spec import FlashSpec, Slot

SSCMA = "sscma"
"""The `app` of firmwares that understand SSCMA's AT commands."""


@dataclass(frozen=True, kw_only=True)
class FlashParams:
    """What the plan says beside the file: board, firmware, the model's name, task and labels."""

    target: str
    label: str
    firmware: str
    slot: Slot
    flash: FlashSpec
    name: str
    task: str
    classes: tuple[str, ...]
    algorithm: str
    verified: bool
    notes: tuple[str, ...]
    source: str = ""
    """What the firmware is called, and where its contract was read."""


@dataclass(frozen=True, kw_only=True)
class Region:
    """One file in the flash. `end`: the first byte that is not erased for it."""

    file: str
    address: int
    size: int
    end: int
    alignment: int
    sha256: str
