"""Plan the flash of a board: which file goes where, and how to send it.

It sends nothing itself. Sources of the facts: the preamble and the arguments of xmodem_send.py are
those of HimaxWiseEyePlus/Seeed_Grove_Vision_AI_Module_V2, xmodem/xmodem_send.py (commit 04aab3e);
those of `sscma.cli flasher` python-sscma 0.5.7's. SSCMA-Micro looks for `TFL3` at byte 4
(core/data/el_data_models.cpp); it keeps the text of AT+INFO unchanged (sscma/callback/info.hpp), so
only its readers, such as the vendor's web tool and python-sscma, give its keys a meaning.
"""

import base64
import hashlib
import json
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from buildsys.spec import BoardSpec, FlashSpec, ModelSpec, Slot
from buildsys.steps.lib.runtime.progress import fail

SSCMA = "sscma"
"""The `app` of firmware that understands SSCMA's AT commands."""
_MAGIC = b"TFL3"
_PACKET = 128
_MOST_COMMAND = 4095
"""Maximum length of an AT command with its carriage return: SSCMA-Micro,
docs/protocol/at_protocol.md.
"""
_CATEGORIES = {"classify": "Image Classification"}
"""Seeed-Studio/sscma-model-zoo, models.json; other tasks use the names below."""
_CATEGORY, _MODEL_TYPE, _ALGORITHM = "Object Detection", "TFLite", "YOLO"
"""What the web tool writes for a user's own model: SenseCraft-Web-Toolkit,
src/pages/setup/process/components/Device.vue (commit 0079311).
"""


@dataclass(frozen=True, kw_only=True)
class FlashParams:
    """The facts of the plan besides the file: board, firmware, the model's name, task and labels."""

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
    """The firmware's name, and the source of its contract."""


@dataclass(frozen=True, kw_only=True)
class Region:
    """One file in the flash. `end`: the first byte after the erased area."""

    file: str
    address: int
    size: int
    end: int
    alignment: int
    sha256: str


def plan_flash(model: ModelSpec, board: BoardSpec) -> FlashParams | None:
    """Return the parameters of the plan; None if target and firmware contract do not state them."""
    if board.slot is None or board.flash is None:
        return None
    return FlashParams(
        target=board.name,
        label=board.label,
        firmware=board.firmware,
        slot=board.slot,
        flash=board.flash,
        name=model.name,
        task=model.task,
        classes=model.classes,
        algorithm=board.algorithm,
        verified=board.verified,
        notes=board.notes,
        source=board.source,
    )


def slot_faults(slot: Slot, firmware: str) -> tuple[str, ...]:
    """Return what is wrong with the slot itself, for any file."""
    faults = []
    if slot.address < slot.lowest:
        faults.append(
            f"{firmware} expects the model at {_hex(slot.address)}, and what lies below"
            f" {_hex(slot.lowest)} is the firmware's own"
        )
    if slot.address % slot.alignment:
        faults.append(
            f"{firmware} expects the model at {_hex(slot.address)}, which is not a multiple of"
            f" {slot.alignment} bytes: {_hex(slot.address - slot.address % slot.alignment)} or"
            f" {_hex(slot.address - slot.address % slot.alignment + slot.alignment)} would be"
        )
    return tuple(faults)


def file_faults(path: Path, slot: Slot, firmware: str) -> tuple[str, ...]:
    """Return what is wrong with a file for its slot."""
    if not path.is_file():
        return (f"{path.name} is not there: there is nothing to flash",)
    size = path.stat().st_size
    faults = []
    if size > slot.size:
        faults.append(
            f"{path.name} is {size} bytes and the slot of {firmware} at {_hex(slot.address)} holds"
            f" {slot.size}: it is {size - slot.size} too large; a smaller architecture or fewer"
            " classes need less"
        )
    with path.open("rb") as stream:
        head = stream.read(8)
    if head[4:8] != _MAGIC:
        faults.append(
            f"{path.name} has {head[4:8]!r} where a TFLite file has TFL3 (bytes 4 to 8):"
            f" {firmware} would not find a model"
        )
    return tuple(faults)


def overlaps(regions: tuple[Region, ...]) -> tuple[tuple[Region, Region], ...]:
    """Return the pairs of regions that overlap."""
    ordered = sorted(regions, key=lambda region: (region.address, region.file))
    return tuple(
        (first, second)
        for index, first in enumerate(ordered)
        for second in ordered[index + 1 :]
        if second.address < first.end
    )


def make_region(path: Path, slot: Slot, firmware: str) -> Region:
    """Return the region of a file. Fails with every reason why it does not fit."""
    faults = slot_faults(slot, firmware) + file_faults(path, slot, firmware)
    if faults:
        fail("; ".join(faults) + ".")
    size = path.stat().st_size
    return Region(
        file=path.name,
        address=slot.address,
        size=size,
        end=slot.address + -(-size // slot.alignment) * slot.alignment,
        alignment=slot.alignment,
        sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
    )


def describe_region(region: Region) -> dict[str, Any]:
    """Return the region as flash.json shows it."""
    return {
        "file": region.file,
        "address": _hex(region.address),
        "size": region.size,
        "end": _hex(region.end),
        "alignment": region.alignment,
        "sha256": region.sha256,
    }


def preamble(position: int) -> bytes:
    """Return the XMODEM packet that gives Himax's boot loader the position of the next file; 128
    bytes.

    C0 5A | position u32le | offset u32le, always 0 | 5A C0 | FF to the end.
    """
    numbers = position.to_bytes(4, "little") + bytes(4)
    return (b"\xc0\x5a" + numbers + b"\x5a\xc0").ljust(_PACKET, b"\xff")


def make_info(params: FlashParams, size: int) -> dict[str, Any] | None:
    """Return the command that sends the labels to an SSCMA firmware; None for any other firmware."""
    if params.flash.app != SSCMA:
        return None
    content = {
        "name": params.name,
        "version": "1.0.0",
        "category": _CATEGORIES.get(params.task, _CATEGORY),
        "model_type": _MODEL_TYPE,
        "algorithm": params.algorithm or _ALGORITHM,
        "description": f"Built by buildsys for {params.firmware}",
        "classes": list(params.classes),
        "size": str(size),
        "isCustom": True,
    }
    text = json.dumps(content, separators=(",", ":"))
    command = f'AT+INFO="{base64.b64encode(text.encode("ascii")).decode("ascii")}"'
    excess = len(command) + 1 - _MOST_COMMAND
    if excess > 0:
        fail(
            f"the labels do not fit into {params.firmware}: with {len(params.classes)} classes its"
            f" command AT+INFO has {len(command) + 1} characters, and it takes {_MOST_COMMAND};"
            f" shorter names of classes help, {-(-excess // 4) * 3} letters less in all."
        )
    return {"command": command, "json": content}


def commands(region: Region, flash: FlashSpec) -> dict[str, dict[str, Any]]:
    """Return the vendors' tools by name: their arguments with PORT for the port, and the command
    line.
    """
    place, baud = _hex(region.address), str(flash.baud)
    if flash.method == "esptool":
        found = {
            "esptool": [
                "esptool",
                "--chip",
                flash.chip or "auto",
                "--port",
                "PORT",
                "--baud",
                baud,
                "write-flash",
                place,
                region.file,
            ]
        }
    else:
        found = {
            "sscma.cli": [
                "sscma.cli",
                "flasher",
                "-p",
                "PORT",
                "-b",
                baud,
                "-f",
                region.file,
                "-o",
                place,
            ],
            "xmodem_send": [
                "python",
                "xmodem_send.py",
                "--port=PORT",
                f"--baudrate={baud}",
                "--protocol=xmodem",
                f"--model={region.file} {place} 0x00000000",
            ],
        }
    return {name: {"arguments": words, "line": shlex.join(words)} for name, words in found.items()}


def _hex(value: int) -> str:
    return f"0x{value:08x}"
