"""vendor_figures.json: latency and accuracy of engines that a maker's guide printed, with its source.

They stand beside the figures of our own engines, never among them: other weights, other pictures,
and another program that measured.
"""

import json
from functools import cache
from pathlib import Path

from buildsys.steps.lib.report.values import Published
from buildsys.steps.lib.runtime.launcher import rebuild

_FILE = Path(__file__).with_name("vendor_figures.json")


@cache
def read_published() -> Published:
    """The guide's figures as they were printed."""
    data = json.loads(_FILE.read_text(encoding="utf-8"))
    for device in data["devices"]:
        for row in device["rows"]:
            row["metrics"] = sorted(row["metrics"].items())
    found: Published = rebuild(Published, data)
    return found
