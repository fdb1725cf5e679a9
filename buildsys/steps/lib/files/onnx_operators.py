"""Which operators ONNX has, and which versions of its files the libraries here open.

All of it is data: onnx_operators.json, read from the libraries in the tool environments
(tests/tools/test_onnx_operators.py writes it and holds it against them).
"""

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path

DATA = Path(__file__).with_suffix(".json")
LEAST_OPSET = 7
"""From which on onnxruntime runs what a file says
(https://onnxruntime.ai/docs/reference/compatibility.html)."""
DOMAINS = ("ai.onnx.ml", "ai.onnx.preview", "ai.onnx.preview.training", "com.microsoft")
"""Whose operators onnxruntime has besides ONNX's own."""


@dataclass(frozen=True, kw_only=True)
class Versions:
    """The highest that are opened: of the operators, of the file's format."""

    opset: int
    ir: int


@cache
def known() -> dict[str, int]:
    """{operator of ONNX's own: the first opset that has it}."""
    found: dict[str, int] = json.loads(DATA.read_bytes())["operators"]
    return found


@cache
def versions(tool_env: str) -> Versions:
    """Of the onnxruntime in `evaluate` or in `onnx2tf`."""
    return Versions(**json.loads(DATA.read_bytes())["versions"][tool_env])
