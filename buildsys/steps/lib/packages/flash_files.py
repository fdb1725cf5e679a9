"""Write the plan of a flash next to the model: flash.json for programs, README.md for people."""

from pathlib import Path

from buildsys.steps.lib.packages.contents import write_json
from buildsys.steps.lib.packages.flash import (
    FlashParams,
    commands,
    describe_region,
    make_info,
    make_region,
    preamble,
)
from buildsys.steps.lib.packages.flash_readme import describe

PLAN = "flash.json"


def write_plan(folder: Path, file: str, params: FlashParams) -> None:
    """Write flash.json and README.md next to the file. Fails if the file does not fit into its
    slot.
    """
    region = make_region(folder / file, params.slot, params.firmware)
    xmodem = params.flash.method == "xmodem"
    plan = {
        "target": params.target,
        "firmware": params.firmware,
        "app": params.flash.app,
        "verified": params.verified,
        "notes": list(params.notes),
        "method": params.flash.method,
        "chip": params.flash.chip,
        "baud": params.flash.baud,
        "regions": [describe_region(region)],
        "preamble": preamble(region.address).hex() if xmodem else None,
        "commands": commands(region, params.flash),
        "info": make_info(params, region.size),
    }
    write_json(folder / PLAN, plan)
    (folder / "README.md").write_text(describe(plan, params, region), encoding="utf-8")
