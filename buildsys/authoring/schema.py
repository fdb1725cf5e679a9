"""JSON Schemas of recipes and targets, for editors that complete and check."""

import json
from pathlib import Path
from typing import Any

from buildsys.authoring.key_examples import EXAMPLES
from buildsys.authoring.key_meanings import BLOCKS, MEANINGS
from buildsys.authoring.recipes.recipe import Recipe, Select, TargetEntry
from buildsys.authoring.syntax.validation import settings_schema
from buildsys.authoring.targets.contract import Contract
from buildsys.authoring.targets.target import Target
from buildsys.authoring.workspace import WorkspaceFile
from buildsys.files import write_atomic
from buildsys.registry import get_step, kinds
from buildsys.spec import GRID


def write_schemas(folder: Path) -> list[Path]:
    """Write recipe, target and firmware schemas; returns the paths."""
    schemas = {
        "recipe": recipe_schema(),
        "target": target_schema(),
        "firmware": _described(Contract.model_json_schema(), "contract"),
        "workspace": _described(WorkspaceFile.model_json_schema(), "workspace"),
    }
    written = []
    for name, schema in schemas.items():
        path = folder / f"{name}.schema.json"
        write_atomic(path, json.dumps(schema, indent=1, sort_keys=True) + "\n")
        written.append(path)
    return written


def recipe_schema() -> dict[str, object]:
    """Return the schema of a recipe as written: settings of steps in their blocks, targets as a
    list.
    """
    schema = Recipe.model_json_schema()
    properties = schema["properties"]
    for block, verb in (("train", "train"), ("export", "export")):
        choices = [
            _described(settings_schema(get_step(f"{verb}_{kind}").settings), block)
            for kind in kinds(verb)
        ]
        properties[block] = choices[0] if len(choices) == 1 else {"anyOf": choices}
    properties["evaluate"] = {"anyOf": [{"const": "none"}, properties["evaluate"]]}
    weights = schema["$defs"]["SourceModel"]["properties"]["weights"]
    schema["$defs"]["SourceModel"]["properties"]["weights"] = {
        "anyOf": [{"const": "random"}, weights]
    }
    size = {"type": "integer", "multipleOf": GRID}
    schema["$defs"]["InputBlock"]["properties"]["size"] = {
        "anyOf": [size, {"type": "array", "items": size, "minItems": 2, "maxItems": 2}]
    }
    entry = _described(_with_own(TargetEntry.model_json_schema(by_alias=True)), "targets")
    patch: list[dict[str, Any]] = [{"type": "object"}, {"type": "null"}]
    for key in entry["properties"]:
        if key in properties and key not in ("firmware", "target"):
            choices = [{"const": "none"}, *patch] if key == "evaluate" else patch
            entry["properties"][key] |= {"anyOf": choices}
    properties["targets"] = {"type": "array", "items": {"anyOf": [{"type": "string"}, entry]}}
    patches = {"type": "object", "additionalProperties": {"anyOf": patch}}
    axis = {"anyOf": [{"type": "array", "minItems": 1}, patches]}
    properties["matrix"] = {"type": "object", "minProperties": 1, "additionalProperties": axis}
    properties["select"] = _described(Select.model_json_schema(), "select")
    properties["extends"] = {"type": "string"}
    properties["dataset"] = {"anyOf": [{"type": "string"}, properties["dataset"]]}
    return _with_extends(_described(schema, "recipe"))


def target_schema() -> dict[str, object]:
    """Return the schema of a target file; a target with `extends` may omit what its base has."""
    schema = _described(_with_own(Target.model_json_schema()), "target")
    whole = {"required": schema["required"]}
    return schema | {
        "required": ["name"],
        "if": {"required": ["extends"]},
        "then": {},
        "else": whole,
    }


def _with_extends(schema: dict[str, Any]) -> dict[str, Any]:
    """Return a schema in which, with `extends`, every block may be partial: the base has the
    rest.
    """
    definitions = schema.pop("$defs")
    parts = {f"{name}Part": _part(body) for name, body in definitions.items()}
    whole = {"required": ["name", "source", "targets"], "properties": schema["properties"]}
    part = _part({"properties": schema["properties"]})
    return {
        "title": "Recipe",
        "description": schema["description"],
        "type": "object",
        "$defs": definitions | parts,
        "required": ["name"],
        "properties": {name: {} for name in schema["properties"]},
        "additionalProperties": False,
        "if": {"required": ["extends"]},
        "then": part,
        "else": whole,
    }


def _part(rule: Any) -> Any:
    """Return a schema without required keys; its keys may be null, which removes the base's
    value.
    """
    if isinstance(rule, list):
        return [_part(item) for item in rule]
    if not isinstance(rule, dict):
        return rule
    kept = {key: _part(item) for key, item in rule.items() if key != "required"}
    if isinstance(kept.get("$ref"), str):
        kept["$ref"] += "Part"
    null = {"type": "null"}
    if isinstance(kept.get("properties"), dict):
        kept["properties"] = {
            key: {"anyOf": [item, null]} for key, item in kept["properties"].items()
        }
    if isinstance(kept.get("additionalProperties"), dict):
        kept["additionalProperties"] = {"anyOf": [kept["additionalProperties"], null]}
    return kept


def _with_own(schema: dict[str, Any]) -> dict[str, Any]:
    """Add the blocks that belong to targets; a file may contain parts of them."""
    for block, name in (("vela", "compile_vela"), ("tensorrt", "build_engine")):
        own = settings_schema(get_step(name).settings)
        own.pop("required", None)
        schema["properties"][block] = _described(own, block)
    return schema


def _described(schema: dict[str, Any], block: str) -> dict[str, Any]:
    """Add meaning and example of every key, including nested blocks; editors show them."""
    for title, inner in schema.get("$defs", {}).items():
        _described(inner, BLOCKS[title])
    for key, rule in schema["properties"].items():
        rule["description"], rule["examples"] = MEANINGS[block][key], [EXAMPLES[block][key]]
    return schema
