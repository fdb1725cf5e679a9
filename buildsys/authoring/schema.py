"""JSON Schemas of recipes and targets, for editors that complete and check."""

import json
from pathlib import Path
from typing import Any

from buildsys.authoring.recipe import Recipe, TargetEntry
from buildsys.authoring.registry import kinds, step_module
from buildsys.authoring.target import Contract, Target
from buildsys.authoring.validation import settings_schema


def write_schemas(folder: Path) -> list[Path]:
    """Write recipe, target and firmware schemas; returns the paths."""
    folder.mkdir(parents=True, exist_ok=True)
    schemas = {
        "recipe": recipe_schema(),
        "target": _with_vela(Target.model_json_schema()),
        "firmware": Contract.model_json_schema(),
    }
    written = []
    for name, schema in schemas.items():
        path = folder / f"{name}.schema.json"
        path.write_text(json.dumps(schema, indent=1, sort_keys=True) + "\n", encoding="utf-8")
        written.append(path)
    return written


def recipe_schema() -> dict[str, Any]:
    """A recipe as it is written: settings of step modules in their blocks, targets as a list."""
    schema = Recipe.model_json_schema()
    properties = schema["properties"]
    for block, verb in (("train", "train"), ("export", "export")):
        choices = [settings_schema(step_module(f"{verb}_{kind}").Settings) for kind in kinds(verb)]
        properties[block] = choices[0] if len(choices) == 1 else {"anyOf": choices}
    properties["evaluate"] = {"anyOf": [{"const": "none"}, properties["evaluate"]]}
    weights = schema["$defs"]["SourceModel"]["properties"]["weights"]
    schema["$defs"]["SourceModel"]["properties"]["weights"] = {
        "anyOf": [{"const": "random"}, weights]
    }
    size = {"type": "integer", "multipleOf": 32}
    schema["$defs"]["InputBlock"]["properties"]["size"] = {
        "anyOf": [size, {"type": "array", "items": size, "minItems": 2, "maxItems": 2}]
    }
    entry = _with_vela(TargetEntry.model_json_schema(by_alias=True))
    patch: list[dict[str, Any]] = [{"type": "object"}, {"type": "null"}]
    for key in entry["properties"]:
        if key in properties and key not in ("firmware", "target"):
            entry["properties"][key] = {"anyOf": patch}
    entry["properties"]["evaluate"] = {"anyOf": [{"const": "none"}, *patch]}
    properties["targets"] = {"type": "array", "items": {"anyOf": [{"type": "string"}, entry]}}
    schema["required"] = ["name", "source", "targets"]
    return schema


def _with_vela(schema: dict[str, Any]) -> dict[str, Any]:
    vela = settings_schema(step_module("compile_vela").Settings)
    vela.pop("required", None)
    schema["properties"]["vela"] = vela
    return schema
