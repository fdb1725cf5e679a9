"""Write the README.md of a package for a microcontroller: the file, how to flash it, and what is not
verified.

What it says of the vendor's web tool was read in the tool's source,
Seeed-Studio/SenseCraft-Web-Toolkit, src/pages/setup/process/components/Device.vue (commit 0079311);
the site itself was not tried.
"""

from typing import Any

from buildsys.escaping import code_span, markdown
from buildsys.steps.lib.packages.flash import FlashParams, Region

_WEB_ADDRESS = 0x400000
"""Where the web tool puts a user's own model, for any firmware: Device.vue."""


def describe(plan: dict[str, Any], params: FlashParams, region: Region) -> str:
    """Return the whole text.

    `plan`: the content of flash.json; only firmware with SSCMA's commands has an `info`.
    """
    parts = [
        _file(plan, params, region),
        _flashing(plan, params),
        _labels(plan, params),
        _web_tool(plan, params, region),
        _unverified(plan, params),
    ]
    return "\n\n".join(part.strip() for part in parts if part) + "\n"


def _file(plan: dict[str, Any], params: FlashParams, region: Region) -> str:
    (row,) = plan["regions"]
    return f"""
# {markdown(params.name)} for {markdown(params.label)}

{code_span(region.file)} is the model, for the firmware {code_span(params.firmware)}, which is not part of this package.{_source(params)}

| Begins at | Ends below | Bytes | SHA-256 |
| --- | --- | --- | --- |
| {row["address"]} | {row["end"]} | {region.size} | {region.sha256} |

`labels.txt` lists the classes in order, `model.json` the inputs and outputs, and `manifest.json` how
every file was made. `flash.json` has the information below for programs."""


def _source(params: FlashParams) -> str:
    """Return whose firmware it is, and where to find it."""
    return f"\nFirmware: {markdown(params.source)}." if params.source else ""


def _flashing(plan: dict[str, Any], params: FlashParams) -> str:
    named = {name: entry["line"] for name, entry in plan["commands"].items()}
    if params.flash.method == "esptool":
        ways = f"""
With Espressif's tool (`esptool.py` and `write_flash` before version 5):

    {named["esptool"]}"""
    else:
        ways = f"""
With Seeed's python-sscma; press the board's reset button when the tool waits for it:

    {named["sscma.cli"]}

Read its output: version 0.5.7 ends with exit code 0 even after a failure, and uses another port if PORT is
not connected.

With Himax's xmodem_send.py, in a copy of this folder, because it writes a file next to the model:

    {named["xmodem_send"]}"""
    return f"""
## Flashing

    buildsys flash BUILD --port PORT

In the workspace, this command checks that the file is the one that was built, and sends it with the
vendor's own tool; BUILD is named in `manifest.json`. To do it by hand, run in this folder, with the
board's serial port as PORT:
{ways}

Only the model is sent; the board must already have the firmware."""


def _labels(plan: dict[str, Any], params: FlashParams) -> str:
    if plan["info"] is None:
        return ""
    return f"""
## Labels

While the firmware runs, send this line over the board's serial port to store the model's description. It
ends with a carriage return:

    {plan["info"]["command"]}

Without it the model works, but its classes are numbers."""


def _web_tool(plan: dict[str, Any], params: FlashParams, region: Region) -> str:
    if plan["info"] is None:
        return ""
    if region.address != _WEB_ADDRESS:
        return f"""
## The vendor's web tool

Do not use it: it writes every model to 0x{_WEB_ADDRESS:08x}, where this firmware does not expect it."""
    labels = "\n".join(
        f"   {number}. {code_span(name)}" for number, name in enumerate(params.classes, 1)
    )
    return f"""
## The vendor's web tool

SenseCraft's page "Upload Custom AI Model" asks for:

1. Model Name: {code_span(params.name)}
2. Model File: {code_span(region.file)}
3. Object: enter them one by one in this order, because the first is class 0:

{labels or "   (this build has no class names)"}

Then it offers Confidence and IoU, the thresholds for shown detections. If the board has another firmware
version, the page first flashes its own, for which this model was not made."""


def _unverified(plan: dict[str, Any], params: FlashParams) -> str:
    lines = ["the model on the device: no device was attached during the build"]
    if params.flash.method == "xmodem":
        lines.append("xmodem_send.py with a model and without a firmware image")
    if plan["info"] is not None:
        lines.append("the web tool: its description comes from its source code")
    if not params.verified:
        lines += list(map(markdown, params.notes)) or [
            f"the decoding in {code_span(params.firmware)}"
        ]
    listed = "\n".join(f"- {line}" for line in lines)
    return f"""
## Not verified

{listed}"""
