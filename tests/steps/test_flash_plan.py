"""The flash plan: addresses, all messages, and the vendors' command lines.

`UPDATE_GOLDEN=1 pytest tests/steps/test_flash_plan.py` writes the golden files.
"""

import base64
import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from buildsys.spec import FlashSpec, Slot
from buildsys.steps.lib.packages.flash import (
    FlashParams,
    Region,
    make_info,
    make_region,
    overlaps,
    preamble,
)
from buildsys.steps.lib.packages.flash_files import write_plan
from buildsys.steps.lib.runtime.progress import StepError
from tests.operations.flash_stand_in import MODEL_BYTES, make_model

GOLDEN = Path(__file__).parent / "golden_flash"
GROVE = FlashParams(
    target="grove-vision-ai-v2",
    label="Seeed Grove Vision AI V2",
    firmware="sscma-1.0-world",
    slot=Slot(address=0x400000, size=0x400000, alignment=4096, lowest=0x400000),
    flash=FlashSpec(method="xmodem", chip="", baud=921600, app="sscma"),
    name="blood",
    task="detect",
    classes=("platelet", "red cell", "white cell"),
    algorithm="",
    verified=True,
    notes=(),
)
XIAO = replace(
    GROVE,
    target="xiao-esp32s3",
    label="Seeed XIAO ESP32S3",
    firmware="sscma-1.0-esp32s3-world",
    flash=FlashSpec(method="esptool", chip="esp32s3", baud=115200, app="sscma"),
    verified=False,
    notes=("The arena is the default of 1.0.x.",),
)
HIMAX = replace(
    GROVE,
    firmware="himax-yolov8-od",
    slot=Slot(address=0xB7B000, size=0x485000, alignment=4096, lowest=0x200000),
    flash=FlashSpec(method="xmodem", chip="", baud=921600, app="tflm_yolov8_od"),
)
ELSEWHERE = replace(GROVE, firmware="mine", slot=replace(GROVE.slot, address=0x500000))


def compare(name: str, text: str) -> None:
    """Compare with golden_flash/NAME."""
    path = GOLDEN / name
    if os.environ.get("UPDATE_GOLDEN"):
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
    assert text == path.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("name", "params"),
    [("grove", GROVE), ("xiao", XIAO), ("himax", HIMAX), ("elsewhere", ELSEWHERE)],
)
def test_a_package_says_where_and_how(name: str, params: FlashParams, tmp_path: Path) -> None:
    """A package contains the flash plan as JSON and as text, for each kind of board and firmware."""
    (tmp_path / "blood.tflite").write_bytes(make_model("blood"))
    write_plan(tmp_path, "blood.tflite", params)
    compare(f"{name}.json", (tmp_path / "flash.json").read_text())
    compare(f"{name}.md", (tmp_path / "README.md").read_text())


def _at(address: int, size: int = 0x400000) -> FlashParams:
    return replace(GROVE, slot=replace(GROVE.slot, address=address, size=size))


def _missing(path: Path) -> None:
    path.unlink()


def _no_model(path: Path) -> None:
    path.write_bytes(b"PK\x03\x04 a zip")


def _empty(path: Path) -> None:
    path.write_bytes(b"")


def _keep(path: Path) -> None:
    pass


@pytest.mark.parametrize(
    ("name", "params", "spoil"),
    [
        ("address-too-low", _at(0x3C0000), _keep),
        ("unaligned", _at(0x400800), _keep),
        ("too-large", _at(0x400000, size=16384), _keep),
        ("no-tflite", GROVE, _no_model),
        ("empty", GROVE, _empty),
        ("missing", GROVE, _missing),
        ("all-at-once", _at(0x3C0001, size=5), _no_model),
        ("labels-too-long", replace(GROVE, classes=tuple(f"cell {n}" for n in range(400))), _keep),
    ],
)
def test_what_cannot_be_flashed_is_no_package(
    name: str, params: FlashParams, spoil: Callable[[Path], None], tmp_path: Path
) -> None:
    """A model that cannot be flashed fails the build, with all reasons at once."""
    path = tmp_path / "blood.tflite"
    path.write_bytes(make_model("blood"))
    spoil(path)
    with pytest.raises(StepError) as caught:
        write_plan(tmp_path, path.name, params)
    compare(f"{name}.txt", f"{caught.value}\n")
    assert not (tmp_path / "flash.json").exists()


def test_the_preamble_is_the_one_that_himax_sends() -> None:
    """The preamble is C0 5A, position, offset, 5A C0, and FF to the end of the packet."""
    assert preamble(0xB7B000) == bytes.fromhex("c05a00b0b700000000005ac0") + b"\xff" * 116


def test_labels_arrive_as_they_are() -> None:
    """Labels arrive unchanged and in order, in any script; the transfer is ASCII."""
    labels = ("Äpfel", "人", 'a "quoted" one')
    info = make_info(replace(GROVE, classes=labels), 7)
    assert info is not None
    assert info["command"].isascii()
    said = json.loads(base64.b64decode(info["command"].removeprefix('AT+INFO="').rstrip('"')))
    assert said == info["json"]
    assert tuple(said["classes"]) == labels


def test_the_advice_for_long_labels_is_right() -> None:
    """After shortening the labels as the message advises, they fit into a command of 4095
    characters.
    """
    params = replace(GROVE, classes=("x" * 5000,))
    with pytest.raises(StepError) as caught:
        make_info(params, MODEL_BYTES)
    less = int(str(caught.value).split(" letters less")[0].split()[-1])
    info = make_info(replace(params, classes=("x" * (5000 - less),)), MODEL_BYTES)
    assert info is not None
    assert len(info["command"]) + 1 <= 4095
    with pytest.raises(StepError):
        make_info(replace(params, classes=("x" * (5000 - less + 3),)), MODEL_BYTES)


def _region(file: str, address: int, size: int, tmp_path: Path) -> Region:
    path = tmp_path / file
    path.write_bytes(make_model(file)[:size])
    return make_region(path, Slot(address=address, size=size, alignment=4096, lowest=0), "any")


def test_a_model_ends_with_the_last_sector_that_is_erased(tmp_path: Path) -> None:
    """A region ends with its last erased sector, since erasing would damage a neighbour in it."""
    first = _region("first", 0x200000, 4097, tmp_path)
    same_sector = replace(_region("second", 0x201000, 100, tmp_path), address=0x201800)
    beside = _region("third", 0x202000, 100, tmp_path)
    assert first.end == 0x202000
    assert overlaps((beside, first)) == ()
    assert overlaps((same_sector, beside, first)) == ((first, same_sector),)
