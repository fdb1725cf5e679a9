"""Where a firmware keeps its model, and which tool sends it there, as people write it."""

from typing import Annotated, Literal

from pydantic import Field, StrictStr

from buildsys.authoring.syntax.validation import Block, Locate
from buildsys.authoring.syntax.values import Count
from buildsys.errors import Diagnostic
from buildsys.spec import FlashSpec, Slot
from buildsys.steps.lib.packages.flash import slot_faults

Address = Annotated[int, Field(strict=True, ge=0, lt=1 << 32)]
BAUD = {"xmodem": 921600, "esptool": 115200}
"""Defaults for a target, from Himax's and esptool's documentation."""


class Flash(Block):
    """`flash` of a target: how the vendor's tool sends a file to the board."""

    method: Literal["xmodem", "esptool", "none"]
    chip: StrictStr | None = None
    baud: Count | None = None


class SlotBlock(Block):
    """`slot` of a firmware contract; addresses and sizes in bytes.

    `lowest`: the first address after the firmware itself; `app`: `sscma` if it understands SSCMA's
    AT commands.
    """

    address: Address
    size: Count
    alignment: Count = 4096
    lowest: Address = 0
    app: StrictStr = ""
    algorithm: StrictStr = ""


def slot_spec(block: SlotBlock) -> Slot:
    """Return the slot for steps."""
    return Slot(
        address=block.address, size=block.size, alignment=block.alignment, lowest=block.lowest
    )


def flash_spec(flash: Flash | None, block: SlotBlock) -> FlashSpec | None:
    """Return a target's `flash` with a contract's `slot`; None where no tool flashes."""
    if flash is None or flash.method == "none":
        return None
    return FlashSpec(
        method=flash.method,
        chip=flash.chip or "",
        baud=flash.baud or BAUD[flash.method],
        app=block.app,
    )


def check_slot(block: SlotBlock | None, firmware: str, locate: Locate) -> list[Diagnostic]:
    """Check the slot by itself: a slot that cannot contain a model is a mistake of the contract."""
    if block is None:
        return []
    faults = slot_faults(slot_spec(block), firmware)
    return [locate(("slot", "address"), fault) for fault in faults]
