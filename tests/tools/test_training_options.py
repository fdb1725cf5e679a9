"""The settings that recipes may pass are those of the installed Ultralytics.

UPDATE_GOLDEN=1 writes buildsys/steps/lib/families/ultralytics_options.json anew.
"""

import ast
import json
import os
import re
from pathlib import Path
from typing import Any

import pytest

from buildsys.execution.tools import environments
from buildsys.steps.lib.families import ultralytics_options

pytestmark = pytest.mark.tools

KINDS = ("bool", "int", "float", "str", "list")


def read_settings(package: Path) -> dict[str, Any]:
    """What Ultralytics says of its settings: names, sections, types and empty defaults in its
    default.yaml, limits in sets of its module `cfg`, and there in a condition the one setting that may
    be null although its default is not. Nothing of it runs.
    """
    code = package / "cfg" / "__init__.py"
    limits = _constants(code)
    nullable = set(
        re.findall(r'k in typed_keys and k != "(\w+)"', code.read_text(encoding="utf-8"))
    )
    assert nullable
    version = _constants(package / "__init__.py")["__version__"]
    found: dict[str, Any] = {}
    section = ""
    for line in (package / "cfg" / "default.yaml").read_text(encoding="utf-8").splitlines():
        if heading := re.match(r"# ([A-Z][\w/]*(?: [\w.]+)?)(?: -{3,})?$", line):
            section = heading[1]
        if setting := re.match(r"(\w+):(.*?)# \(([^)]*)\) (.*)$", line):
            name, default, types, comment = setting.groups()
            found[name] = {"section": section} | _describe(name, types, comment, limits)
            if not default.strip() or name in nullable:
                found[name]["kinds"].append("empty")
    return {"ultralytics": version, "settings": found}


def _describe(name: str, types: str, comment: str, limits: dict[str, Any]) -> dict[str, Any]:
    words = re.findall(r"[a-z]+", types)
    kinds = [kind for kind in KINDS if kind in words or (kind == "list" and "tuple" in words)]
    about: dict[str, Any] = {"kinds": kinds}
    listed = re.search(r": ((?:\w+, )*\w+,? (?:or )?\w+)$", comment)
    if kinds == ["str"] and listed:
        about["choices"] = re.findall(r"(?!or\b)\b\w+", listed[1])
    if name in limits["CFG_FRACTION_KEYS"] and kinds == ["float"]:
        about |= {"least": 0, "most": 1}
    if name in limits["CFG_INT_MIN"]:
        about["least"] = limits["CFG_INT_MIN"][name]
    return about


def _constants(path: Path) -> dict[str, Any]:
    """The literals that a module assigns, including sets in `frozenset(…)`."""
    found = {}
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            value = node.value
            if isinstance(value, ast.Call) and value.args:
                value = value.args[0]
            try:
                found[node.targets[0].id] = ast.literal_eval(value)
            except ValueError:
                continue
    return found


def test_the_settings_are_those_of_the_version_that_trains() -> None:
    """Every allowed setting exists in the installed version."""
    _, python = environments.ensure("ultralytics", print)
    (package,) = python.parents[1].glob("lib/python3*/site-packages/ultralytics")
    found = read_settings(package)
    if os.environ.get("UPDATE_GOLDEN"):
        text = json.dumps(found, indent=1) + "\n"
        ultralytics_options.DATA.write_text(text, encoding="utf-8")
    assert json.loads(ultralytics_options.DATA.read_bytes()) == found


def test_whatever_decides_itself_is_a_setting_of_theirs() -> None:
    """Every refused setting exists in the installed version."""
    known = ultralytics_options.known()
    assert set(ultralytics_options._KEYS) | set(ultralytics_options._OWN) <= set(known)
