"""The README.md of a package for a microcontroller: what the file is, how it comes onto the board.

What is said of the vendor's web tool was read in its source, Seeed-Studio/SenseCraft-Web-Toolkit,
src/pages/setup/process/components/Device.vue (commit 0079311); the site itself was not tried.
"""

from typing import Any

from buildsys.steps.lib.packages.flash_values import SSCMA, FlashParams, Region

_WEB_ADDRESS = 0x400000
"""Where the web tool puts a model of one's own, whatever the firmware: the same Device.vue."""


def describe(plan: dict[str, Any], params: FlashParams, region: Region) -> str:
    """The whole text. `plan`: what flash.json says."""
    parts = [
        _file(plan, params, region),
        _flashing(plan, params),
        _labels(plan, params),
        _web_tool(params, region),
        _unverified(params),
    ]
    return "\n\n".join(part.strip() for part in parts if part) + "\n"


def _file(plan: dict[str, Any], params: FlashParams, region: Region) -> str:
    (row,) = plan["regions"]
    return f"""
# {params.name} for {params.label}

`{region.file}` is the model, for the firmware `{params.firmware}`, which is not part of this package.{_source(params)}

| Begins at | Ends below | Bytes | SHA-256 |
| --- | --- | --- | --- |
| {row["address"]} | {row["end"]} | {region.size} | {region.sha256} |

`labels.txt` names the classes in order, `model.json` the inputs and outputs, `manifest.json` how
all of it was made. What is written below is in `flash.json` for programs."""


def _source(params: FlashParams) -> str:
    """Whose firmware it is, and where to look for it."""
    return f"\nThat is {params.source}." if params.source else ""


def _flashing(plan: dict[str, Any], params: FlashParams) -> str:
    named = {name: entry["line"] for name, entry in plan["commands"].items()}
    if params.flash.method == "esptool":
        ways = f"""
With Espressif's tool (before its version 5 it was `esptool.py` and `write_flash`):

    {named["esptool"]}"""
    else:
        ways = f"""
With Seeed's python-sscma, which the board answers when its reset button is pressed:

    {named["sscma.cli"]}

Look at what it prints: version 0.5.7 ends with code 0 after a failure, too, and where PORT is not
connected it takes another port.

With Himax's xmodem_send.py, from a copy of this folder, since it leaves a file beside the model:

    {named["xmodem_send"]}"""
    return f"""
## Flashing

    buildsys flash BUILD --port PORT

in the workspace, BUILD as `manifest.json` names it, checks that this file is the one that was
built, and sends it with the vendor's own tool. By hand, from this folder, PORT being the serial
port of the board:
{ways}

Only the model is sent; the firmware has to be on the board."""


def _labels(plan: dict[str, Any], params: FlashParams) -> str:
    if plan["info"] is None:
        return ""
    return f"""
## Labels

The firmware keeps the model's description when it is sent this line, which ends with a carriage
return, over its serial port once it runs:

    {plan["info"]["command"]}

Without it the model runs, and its classes are numbers."""


def _web_tool(params: FlashParams, region: Region) -> str:
    if params.flash.app != SSCMA:
        return ""
    if region.address != _WEB_ADDRESS:
        return f"""
## The vendor's web tool

It writes every model to 0x{_WEB_ADDRESS:08x}, where this firmware does not look: do not use it."""
    labels = "\n".join(f"   {number}. `{name}`" for number, name in enumerate(params.classes, 1))
    return f"""
## The vendor's web tool

SenseCraft's page "Upload Custom AI Model" asks for:

1. Model Name: `{params.name}`
2. Model File: `{region.file}`
3. Object, one after the other, in this order, since the first is class 0:

{labels or "   (this build knows no names of classes)"}

Then it shows Confidence and IoU: what is lower than they say is not shown. It flashes its own
firmware first where the board has another version: not the one that this model was made for."""


def _unverified(params: FlashParams) -> str:
    lines = ["the model on the device: none was attached when it was built"]
    if params.flash.method == "xmodem":
        lines.append("xmodem_send.py with a model and without a firmware image")
    if params.flash.app == SSCMA:
        lines.append("the web tool: what is said of it was read in its source")
    if not params.verified:
        lines += list(params.notes) or [f"what `{params.firmware}` decodes"]
    listed = "\n".join(f"- {line}" for line in lines)
    return f"""
## Not verified

{listed}"""
