"""vendor_figures.json: latency and accuracy of engines printed in a vendor's guide, with the
source.

They are shown beside the figures of our own engines, never among them: they come from other
weights, other images, and another measuring program.
"""

import json
from functools import cache
from pathlib import Path

from buildsys.steps.lib.report.values import Published
from buildsys.steps.lib.runtime.launcher import rebuild

_FILE = Path(__file__).with_name("vendor_figures.json")


@cache
def read_published() -> Published:
    """Return the guide's figures as printed."""
    data = json.loads(_FILE.read_text(encoding="utf-8"))
    for device in data["devices"]:
        for row in device["rows"]:
            row["metrics"] = sorted(row["metrics"].items())
    found: Published = rebuild(Published, data)
    return found
