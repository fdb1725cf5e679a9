"""Shipped recipes, targets and contracts match the schemas that editors use."""

import importlib
import importlib.util
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from buildsys import cli
from buildsys.authoring import schema
from buildsys.authoring.syntax.document import parse_document, read_document
from buildsys.authoring.targets import target
from buildsys.authoring.targets.lookup import Boards
from buildsys.registry import shipped_targets, step_names
from tests.authoring.golden import inputs
from tests.authoring.sample_workspace import expecting, plan_all

_REPOSITORY = Path(__file__).resolve().parent.parent.parent
_RECIPES = sorted((_REPOSITORY / "recipes").glob("*.yaml"))
_TARGETS = sorted(shipped_targets().glob("*.yaml"))
_CONTRACTS = sorted((shipped_targets() / "firmware").glob("*.yaml"))
_SEEN = (
    "architecture-is-number",
    "checkpoint-decoder",
    "classes-is-text",
    "entry-trains-differently",
    "epochs-is-fraction",
    "epochs-is-text",
    "epochs-missing",
    "family-unknown",
    "gate-is-number",
    "gate-is-text",
    "accelerator-unknown",
    "head-unknown",
    "vela-beside-targets",
    "missing-source",
    "missing-targets",
    "quantization-aware-unknown",
    "scheme-unknown",
    "size-is-text",
    "source-is-text",
    "targets-is-text",
    "task-unknown",
    "train-is-true",
    "truth-is-text",
    "unknown-block",
    "unknown-calibration-setting",
    "unknown-entry-key",
    "unknown-gate-setting",
    "unknown-key",
    "unknown-train-setting",
    "weights-is-text",
    "weights-missing",
)
"""Broken recipes that an editor marks."""

Schema = dict[str, Any]


def _problems(value: object, rule: Schema, root: Schema, at: str = "") -> Iterator[str]:
    """A part of JSON Schema that finds wrong keys, words and types; jsonschema if installed."""
    if "$ref" in rule:
        rule = root["$defs"][rule["$ref"].rsplit("/", 1)[-1]]
    if "anyOf" in rule:
        tried = [list(_problems(value, choice, root, at)) for choice in rule["anyOf"]]
        yield from min(tried, key=len)
        return
    yield from _mismatch(value, rule, at)
    if "if" in rule:
        holds = not list(_problems(value, rule["if"], root, at))
        yield from _problems(value, rule["then" if holds else "else"], root, at)
    if isinstance(value, dict):
        yield from _block_problems(value, rule, root, at)
    if isinstance(value, list) and isinstance(rule.get("items"), dict):
        for index, item in enumerate(value):
            yield from _problems(item, rule["items"], root, f"{at}/{index}")


_KINDS: dict[str, type | tuple[type, ...]] = {
    "object": dict,
    "array": list,
    "string": str,
    "integer": int,
    "number": (int, float),
    "boolean": bool,
    "null": type(None),
}


def _mismatch(value: object, rule: Schema, at: str) -> Iterator[str]:
    kind = rule.get("type")
    wanted = _KINDS[kind] if kind else object
    if not isinstance(value, wanted) or (isinstance(value, bool) and kind in ("integer", "number")):
        yield f"{at}: {value!r} is no {kind}"
    if value not in rule.get("enum", [value]) or value != rule.get("const", value):
        yield f"{at}: {value!r} is none of the words"


def _block_problems(block: Schema, rule: Schema, root: Schema, at: str) -> Iterator[str]:
    known, rest = rule.get("properties", {}), rule.get("additionalProperties", True)
    for name in rule.get("required", ()):
        if name not in block:
            yield f"{at}: {name} is missing"
    for key, value in block.items():
        if key in known:
            yield from _problems(value, known[key], root, f"{at}/{key}")
        elif isinstance(rest, dict):
            yield from _problems(value, rest, root, f"{at}/{key}")
        elif not rest:
            yield f"{at}: unknown key {key}"


def _validate(value: object, rule: Schema) -> list[str]:
    if importlib.util.find_spec("jsonschema"):
        validator = importlib.import_module("jsonschema").Draft202012Validator
        return [str(error.message) for error in validator(rule).iter_errors(value)]
    return list(_problems(value, rule, rule))


def _data(path: Path) -> object:
    return read_document(path, path.name).data


@pytest.fixture(scope="module")
def schemas(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Schema]:
    """The schemas as editors read them, by kind of file."""
    paths = schema.write_schemas(tmp_path_factory.mktemp("schemas"))
    return {path.name.split(".")[0]: json.loads(path.read_text()) for path in paths}


@pytest.mark.parametrize("path", _RECIPES, ids=lambda path: path.stem)
def test_shipped_recipe_fits_its_schema(path: Path, schemas: dict[str, Schema]) -> None:
    """Every shipped recipe matches its schema."""
    assert not _validate(_data(path), schemas["recipe"])


def test_recipes_that_pages_show_fit_the_schema(schemas: dict[str, Schema]) -> None:
    """Recipes in the documentation match the schema."""
    shown = []
    for page in (_REPOSITORY / "README.md", *sorted((_REPOSITORY / "docs").rglob("*.md"))):
        text = page.read_text(encoding="utf-8")
        for code in re.findall(r"^```yaml\n(.*?)^```", text, re.MULTILINE | re.DOTALL):
            if "name: " in code and "\nsource:" in code and "\ntargets:" in code:
                data = parse_document(code.replace("…", "0" * 64), page.name).data
                shown.append((page.name, _validate(data, schemas["recipe"])))
    assert [found for found in shown if found[1]] == []
    assert len(shown) >= 2


@pytest.mark.parametrize("path", _TARGETS, ids=lambda path: path.stem)
def test_shipped_target_fits_its_schema(path: Path, schemas: dict[str, Schema]) -> None:
    """Every shipped target matches its schema."""
    assert not _validate(_data(path), schemas["target"])


@pytest.mark.parametrize("path", _CONTRACTS, ids=lambda path: path.stem)
def test_shipped_contract_fits_its_schema(path: Path, schemas: dict[str, Schema]) -> None:
    """Every shipped contract matches its schema."""
    assert not _validate(_data(path), schemas["firmware"])


@pytest.mark.parametrize("path", expecting(inputs("fine"), {}))
def test_what_is_fine_fits_the_schema(path: Path, schemas: dict[str, Schema]) -> None:
    """Every file that `check` accepts matches its schema."""
    assert not _validate(_data(path), schemas["recipe"])


def test_part_of_a_recipe_fits_where_it_extends(schemas: dict[str, Schema]) -> None:
    """A recipe that extends a base does not need all keys."""
    part = {"name": "fast", "extends": "_pose", "train": {"seed": 7}, "source": {"task": "pose"}}
    assert not _validate(part, schemas["recipe"])
    assert _validate({**part, "train": {"sed": 7}}, schemas["recipe"])
    del part["extends"]
    assert _validate(part, schemas["recipe"])


@pytest.mark.parametrize("name", _SEEN)
def test_editor_sees_the_mistake(name: str, schemas: dict[str, Schema]) -> None:
    """Typical mistakes are found by the schema."""
    assert _validate(_data(inputs("broken")[name]), schemas["recipe"])


def _keys(rule: Any, at: str = "") -> Iterator[tuple[str, Schema]]:
    """(path, schema) of every key in a schema."""
    if isinstance(rule, list):
        for each in rule:
            yield from _keys(each, at)
    if not isinstance(rule, dict):
        return
    for name, inner in rule.get("properties", {}).items():
        if inner:
            yield f"{at}/{name}", inner
    for name, inner in rule.items():
        if name == "properties":
            for key, value in inner.items():
                yield from _keys(value, f"{at}/{key}")
        elif name != "examples":
            yield from _keys(inner, at)


@pytest.mark.parametrize("name", ["recipe", "target", "firmware", "workspace"])
def test_every_key_has_a_meaning_and_an_example(name: str, schemas: dict[str, Schema]) -> None:
    """Every key has a description and a valid example."""
    root, seen = schemas[name], 0
    for at, rule in _keys(root):
        rules = [rule, *rule.get("anyOf", ())]  # with `extends`, a key may be null, too
        shown = next((each for each in rules if "description" in each), None)
        assert shown is not None, at
        assert shown["description"].endswith("."), at
        problems = [p for value in shown["examples"] for p in _problems(value, rule, root)]
        assert problems == [], at
        seen += 1
    assert seen >= 10


@pytest.mark.parametrize("path", _TARGETS, ids=lambda path: path.stem)
def test_shipped_target_loads(path: Path) -> None:
    """Every shipped target loads."""
    board = Boards(Path("/nowhere")).board(path.stem).target
    assert {step for steps in board.pipelines.values() for step in steps} <= set(step_names())
    assert set(board.firmware.values()) <= {contract.stem for contract in _CONTRACTS}
    config = (board.vela or {}).get("config")
    assert config is None or (path.parent / str(config)).is_file()


@pytest.mark.parametrize("path", _CONTRACTS, ids=lambda path: path.stem)
def test_shipped_contract_loads(path: Path) -> None:
    """Every shipped contract loads."""
    contract, _ = target.read_contract(path, path.name)
    assert contract.source
    assert contract.verified or contract.notes


@pytest.mark.xdist_group("shipped recipes")
def test_shipped_recipes_have_no_mistake() -> None:
    """All shipped recipes pass `check`."""
    assert not plan_all(_REPOSITORY).errors


def test_schema_command_writes_where_files_look(
    workspace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """`buildsys schema` writes the schemas to the paths named in shipped files."""
    assert cli.main(["-C", str(workspace), "schema"]) == 0
    written = {Path(line).name for line in capsys.readouterr().out.splitlines()}
    for path in [*_RECIPES, *_TARGETS]:
        first = path.read_text(encoding="utf-8").splitlines()[0]
        assert first.startswith("# yaml-language-server: $schema=../.buildsys/")
        assert first.rsplit("/", 1)[-1] in written
    assert all((workspace / ".buildsys" / name).is_file() for name in written)
