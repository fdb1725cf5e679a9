"""List ONNX's operators, and the file versions that the libraries in the tool environments open.

The data are in onnx_operators.json, read from those libraries (tests/tools/test_onnx_operators.py
writes and verifies it).
"""

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path

DATA = Path(__file__).with_suffix(".json")
LEAST_OPSET = 7
"""The oldest opset that onnxruntime supports
(https://onnxruntime.ai/docs/reference/compatibility.html).
"""
DOMAINS = ("ai.onnx.ml", "ai.onnx.preview", "ai.onnx.preview.training", "com.microsoft")
"""Domains of further operators that onnxruntime supports."""


@dataclass(frozen=True, kw_only=True)
class Versions:
    """The highest supported opset and the highest supported version of the file format."""

    opset: int
    ir: int


@cache
def known() -> dict[str, int]:
    """Return {operator of ONNX's own: the first opset that has it}."""
    found: dict[str, int] = json.loads(DATA.read_bytes())["operators"]
    return found


@cache
def versions(tool_env: str) -> Versions:
    """Return the versions that the onnxruntime in `evaluate` or `onnx2tf` supports."""
    return Versions(**json.loads(DATA.read_bytes())["versions"][tool_env])
