"""Packages with a TFLite header and the real flash plan, made without tools."""

import json
from pathlib import Path

from buildsys.execution.running.process import Command, OnProgress
from buildsys.steps.lib.packages.flash import FlashParams
from buildsys.steps.lib.packages.flash_files import write_plan
from buildsys.steps.lib.runtime.launcher import rebuild
from tests.conftest import StandIn

MODEL_BYTES = 20_011
"""Not a multiple of a packet's or a sector's size."""


def make_model(name: str) -> bytes:
    """The bytes of a file that firmwares accept as a model, different for each build."""
    head = b"\x1c\x00\x00\x00TFL3" + name.encode()
    return (head + bytes(range(256)) * (MODEL_BYTES // 256 + 1))[:MODEL_BYTES]


class FlashStandIn(StandIn):
    """As StandIn, but `package_flash` writes a model and runs the real step's plan for it."""

    def __call__(self, command: Command, on_progress: OnProgress) -> int:
        code = super().__call__(command, on_progress)
        module, request_path = command.arguments[-2:]
        if module == "package_flash" and code == 0:
            request = json.loads(Path(request_path).read_text())
            folder, params = Path(request["outputs"]["package"]), request["params"]
            name = f"{params['stem']}.tflite"
            flash = params["flash"]
            (folder / name).write_bytes(make_model(flash["firmware"] if flash else ""))
            if flash is not None:
                write_plan(folder, name, rebuild(FlashParams, flash))
        return code
