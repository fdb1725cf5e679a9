"""`check` has the ONNX operators and versions of the libraries in the tool environments.

UPDATE_GOLDEN=1 writes buildsys/steps/lib/files/onnx_operators.json anew.
"""

import json
import os
import subprocess
from typing import Any

import pytest

from buildsys.execution.tools import environments
from buildsys.steps.lib.files import onnx_operators, tflite_schema
from tests.tools.places import by_hand

pytestmark = pytest.mark.tools

OPERATORS = """
import json
from onnx import defs
first = {}
for each in defs.get_all_schemas_with_history():
    if not each.domain:
        first[each.name] = min(each.since_version, first.get(each.name, each.since_version))
print(json.dumps(dict(sorted(first.items()))))
"""
VERSIONS = """
import json, onnx, onnxruntime
from onnx import TensorProto, helper
onnxruntime.set_default_logger_severity(4)
def opens(opset, ir):
    first, last = (helper.make_tensor_value_info(n, TensorProto.FLOAT, [1]) for n in "xy")
    graph = helper.make_graph([helper.make_node("Identity", ["x"], ["y"])], "g", [first], [last])
    whole = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=ir)
    try:
        onnxruntime.InferenceSession(whole.SerializeToString(), providers=["CPUExecutionProvider"])
    except Exception:
        return False
    return True
opset = max(n for n in range(13, 60) if opens(n, 8))
print(json.dumps({"opset": opset, "ir": max(n for n in range(8, 60) if opens(13, n))}))
"""
CUSTOMS = """
import sys
from pathlib import Path
import ai_edge_litert
held = b"".join(path.read_bytes() for path in Path(ai_edge_litert.__file__).parent.glob("*.so"))
print(*(name for name in sys.argv[1:] if name.encode() not in held))
"""


def _ask(tool_env: str, code: str, *arguments: str) -> str:
    _, python = environments.ensure(tool_env, print)
    command = [str(python), "-s", "-c", code, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True, env=by_hand()).stdout


def test_operators_and_versions_are_those_of_the_libraries() -> None:
    """`check` refuses exactly the files that the libraries refuse."""
    found: dict[str, Any] = {
        "versions": {name: json.loads(_ask(name, VERSIONS)) for name in ("evaluate", "onnx2tf")},
        "operators": json.loads(_ask("evaluate", OPERATORS)),
    }
    if os.environ.get("UPDATE_GOLDEN"):
        text = json.dumps(found, indent=1) + "\n"
        onnx_operators.DATA.write_text(text, encoding="utf-8")
    assert json.loads(onnx_operators.DATA.read_bytes()) == found


def test_custom_operators_are_those_that_litert_registers() -> None:
    """Custom operators are those that LiteRT registers, with their names."""
    assert _ask("evaluate", CUSTOMS, *sorted(tflite_schema.LITERT_CUSTOMS)).strip() == ""
