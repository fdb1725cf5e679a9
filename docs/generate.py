"""Writes the generated parts of docs/ and README.md from the code: `python docs/generate.py`.

A part is between `<!-- generated: NAME ARGUMENTS -->` and `<!-- end -->`; NAME is a key of PARTS. A
test checks that every part is up to date.
"""

import argparse
import ast
import dataclasses
import importlib
import inspect
import keyword
import re
import typing
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, TypeAdapter

from buildsys import errors, registry, spec
from buildsys.authoring import schema
from buildsys.authoring.key_meanings import BLOCKS, MEANINGS
from buildsys.authoring.recipes import recipe
from buildsys.authoring.syntax.validation import settings_schema
from buildsys.authoring.targets import contract, lookup, overview, target
from buildsys.authoring.workspace import WorkspaceFile
from buildsys.cli import COMMANDS
from buildsys.execution.state import manifests
from buildsys.execution.tools import definitions
from buildsys.outcome import Kind, Outcome
from docs import networks

ROOT = Path(__file__).resolve().parent.parent
_PART = re.compile(r"(<!-- generated: ([^>]*?) -->\n).*?(<!-- end -->)", re.DOTALL)

STATUSES: dict[str, str] = {
    Kind.BUILT: "Steps ran, and the package is in `build/`.",
    Kind.RESTORED: "The package came back from the store; no step ran.",
    Kind.UP_TO_DATE: "Nothing to do.",
    Kind.WAITING: "Something is missing on this machine: a file, the data, a GPU with its TensorRT.",
    Kind.REJECTED: "A proof did not hold; nothing ships, and an earlier package is removed from `build/`. The"
    " file and `verdict.json` are in `build/.rejected/`.",
    Kind.FAILED: "A step ended with an error. An earlier package stays in place. `failed at check`: the"
    " recipe has a mistake. `failed at preparation`: the run ended before its first step; the message says why.",
    Kind.BLOCKED: "A step that this build shares with the named build failed.",
    Kind.INTERRUPTED: "The run was ended by Ctrl-C, a signal or a closed terminal.",
    Kind.NOT_IN_LOCK: "`--locked` only: buildsys.lock would change, or a training would begin that it does"
    " not record.",
    Kind.NOT_FINISHED: "The run ended before this build was done.",
    Kind.RESTORABLE: "`plan` only: every result is in the store.",
    Kind.STALE: "`plan` only: some step has to run.",
    Kind.BROKEN: "`plan` only: the recipe has a mistake.",
    Kind.NOT_BUILT: "`report` only: there is no package yet.",
}


def stale(root: Path = ROOT) -> list[str]:
    """Return the files with parts that are out of date."""
    return [str(path.relative_to(root)) for path in pages(root) if filled(path) != _read(path)]


def pages(root: Path = ROOT) -> list[Path]:
    """Return every Markdown file of the repository that can have generated parts."""
    texts = [root / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md")]
    texts += [root / "examples" / "README.md", *sorted((root / "examples").glob("*/README.md"))]
    return [path for path in [*texts, *sorted((root / "docs").rglob("*.md"))] if path.is_file()]


def filled(path: Path) -> str:
    """Return the text of a page with its parts generated again."""

    def write(found: re.Match[str]) -> str:
        name, *arguments = found[2].split()
        return f"{found[1]}\n{PARTS[name](*arguments).strip()}\n\n{found[3]}"

    return _PART.sub(write, _read(path))


def main() -> None:
    """Rewrite the files with parts that are out of date."""
    for name in stale():
        path = ROOT / name
        path.write_text(filled(path), encoding="utf-8")
        print(name)


def _read(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def _code(text: object) -> str:
    return f"`{text}`" if str(text) else ""


def _codes(names: Iterable[object]) -> str:
    return ", ".join(map(_code, names))


# ---- keys that people write ---------------------------------------------------------------------


def keys(which: str) -> str:
    """Return every block of a kind of file, each with a table of its keys."""
    return "\n\n".join(_block(block, rules) for block, rules in _BLOCKS[which]())


def _recipe_blocks() -> list[tuple[str, dict[str, Any]]]:
    whole = schema.recipe_schema()
    definitions = typing.cast(dict[str, Any], whole["$defs"])
    top = typing.cast(dict[str, Any], whole["else"])
    blocks = {"recipe": top | {"$defs": definitions}}
    for title, block in BLOCKS.items():
        if title in definitions:
            blocks[block] = definitions[title] | {"$defs": definitions}
    blocks["select"] = recipe.Select.model_json_schema()
    blocks["targets"] = recipe.TargetEntry.model_json_schema(by_alias=True)
    for verb in ("train", "export"):
        blocks[verb] = _of_families(verb)
    for kind in registry.kinds("generate"):
        settings = registry.get_step(f"generate_{kind}").settings
        blocks[f"generator: {kind}"] = settings_schema(settings)
    return [(block, blocks[block]) for block in MEANINGS if block in blocks]


def _of_families(verb: str) -> dict[str, Any]:
    """Return the keys of all families; a key that only some families have names them."""
    schemas = {
        kind: settings_schema(registry.get_step(f"{verb}_{kind}").settings)
        for kind in registry.kinds(verb)
    }
    properties: dict[str, Any] = {}
    required: set[str] = set()
    for kind, found in schemas.items():
        required |= set(typing.cast(list[str], found.get("required", ())))
        for key, rule in typing.cast(dict[str, Any], found["properties"]).items():
            properties.setdefault(key, rule | {"families": []})["families"].append(kind)
    for rule in properties.values():
        if len(rule["families"]) == len(schemas):
            del rule["families"]
    return {"properties": properties, "required": sorted(required)}


def _of(*models: type[BaseModel]) -> Callable[[], list[tuple[str, dict[str, Any]]]]:
    def find() -> list[tuple[str, dict[str, Any]]]:
        blocks: dict[str, dict[str, Any]] = {}
        for model in models:
            found = model.model_json_schema()
            blocks[BLOCKS[model.__name__]] = found
            for title, inner in found.get("$defs", {}).items():
                blocks[BLOCKS[title]] = inner | {"$defs": found["$defs"]}
        if target.Target in models:
            for block, step in (("vela", "compile_vela"), ("tensorrt", "build_engine")):
                blocks[block] = settings_schema(registry.get_step(step).settings)
        return [(block, blocks[block]) for block in MEANINGS if block in blocks]

    return find


_BLOCKS: dict[str, Callable[[], list[tuple[str, dict[str, Any]]]]] = {
    "recipe": _recipe_blocks,
    "target": _of(target.Target),
    "contract": _of(contract.Contract),
    "workspace": _of(WorkspaceFile),
}


def _block(block: str, rules: dict[str, Any]) -> str:
    required = rules.get("required", ())
    rows = []
    for key, rule in sorted(rules["properties"].items(), key=lambda item: _order(block, item[0])):
        default = "required" if key in required else _code(_default(rule))
        meaning = MEANINGS[block][key]
        if "families" in rule:
            meaning += f" Family {_codes(rule['families'])}."
        rows.append([_code(key), _values(rule), default, meaning])
    title = _TITLES.get(block, _code(block))
    return f"## {title}\n\n{_table(('Key', 'Value', 'Default', 'Meaning'), rows)}"


_TITLES = {
    "recipe": "The whole file",
    "target": "The whole file",
    "contract": "The whole file",
    "workspace": "The whole file",
    "remote": "`remote`",
    "cluster": "`cluster`",
    "slurm": "`cluster.slurm`",
    "targets": "An entry of `targets`",
    "contract.input": "`input`",
    "contract.outputs": "`outputs`",
    "contract.outputs.tensors": "An entry of `outputs.tensors`",
    "contract.slot": "`slot`",
    "contract.lines.LINE": "`lines.LINE`",
    "contract.traps": "An entry of `traps`",
}


def _order(block: str, key: str) -> int:
    return list(MEANINGS[block]).index(key)


def _default(rule: dict[str, Any]) -> str:
    value = rule.get("default")
    if isinstance(value, bool):
        return str(value).lower()
    return "" if value in (None, [], {}) or isinstance(value, dict) else str(value)


def _values(rule: dict[str, Any]) -> str:
    """Return the values that a key takes, in words."""
    if "$ref" in rule or rule.get("properties"):
        return "block"
    if "anyOf" in rule:
        kinds = [_values(each) for each in rule["anyOf"] if each.get("type") != "null"]
        return " or ".join(dict.fromkeys(filter(None, kinds)))
    if "const" in rule:
        return _code(rule["const"])
    if "enum" in rule:
        return ", ".join(map(_code, rule["enum"]))
    limits = [
        f"{words} {rule[name]}"
        for name, words in (
            ("minimum", "at least"),
            ("exclusiveMinimum", "more than"),
            ("maximum", "at most"),
            ("exclusiveMaximum", "less than"),
        )
        if name in rule
    ]
    kind = {
        "string": "text",
        "integer": "whole number",
        "number": "number",
        "boolean": "`true` or `false`",
        "array": "list",
        "object": "block",
    }.get(str(rule.get("type", "")), "")
    return ", ".join([kind, *limits]) if kind else ""


# ---- commands -----------------------------------------------------------------------------------


def commands() -> str:
    """Return every command: what it does, its usage, its arguments."""
    return "\n\n".join(_command(name, text) for name, text in COMMANDS.items())


def command_list() -> str:
    """Return every command in one line each."""
    return _table(
        ("Command", ""), [(f"[`{n}`](#buildsys-{n})", _sentence(t)) for n, t in COMMANDS.items()]
    )


def _command(name: str, text: str) -> str:
    stem = name.replace("-", "_") + "_" * keyword.iskeyword(name)
    parser = argparse.ArgumentParser(prog=f"buildsys {name}", description=text, add_help=False)
    importlib.import_module(f"buildsys.commands.{stem}").arguments(parser)
    return f"## buildsys {name}\n\n{_sentence(parser.description or text)}\n\n{_form(parser)}"


def _form(parser: argparse.ArgumentParser) -> str:
    inner = [a for a in parser._actions if isinstance(a, argparse._SubParsersAction)]
    if inner:
        helps = {choice.dest: choice.help for choice in inner[0]._choices_actions}
        return "\n\n".join(
            f"**`{each.prog}`**: {_sentence(helps[name] or '')}\n\n{_form(each)}"
            for name, each in inner[0].choices.items()
        )
    actions = [a for a in parser._actions if not isinstance(a, argparse._HelpAction)]
    form = " ".join([parser.prog, *map(_usage, [*_options(actions), *_positional(actions)])])
    rows = [
        [_code(_invocation(action)), (action.help or "").replace("|", "\\|")] for action in actions
    ]
    table = f"\n\n{_table(('Argument', ''), rows)}" if rows else ""
    return f"```text\n{form}\n```{table}"


def _options(actions: list[argparse.Action]) -> list[argparse.Action]:
    return [action for action in actions if action.option_strings]


def _positional(actions: list[argparse.Action]) -> list[argparse.Action]:
    return [action for action in actions if not action.option_strings]


def _metavar(action: argparse.Action) -> str:
    if isinstance(action.metavar, str):
        name = action.metavar
    elif action.choices is not None:
        name = "{" + ",".join(map(str, action.choices)) + "}"
    else:
        name = action.dest.upper() if action.option_strings else action.dest
    return {"*": f"[{name} ...]", "+": f"{name} [{name} ...]", "?": f"[{name}]"}.get(
        str(action.nargs), name
    )


def _invocation(action: argparse.Action) -> str:
    if not action.option_strings:
        return action.metavar if isinstance(action.metavar, str) else action.dest
    name = action.option_strings[-1]
    return name if action.nargs == 0 else f"{name} {_metavar(action)}"


def _usage(action: argparse.Action) -> str:
    if not action.option_strings:
        return _metavar(action)
    return _invocation(action) if action.required else f"[{_invocation(action)}]"


def _sentence(text: str) -> str:
    text = text[:1].upper() + text[1:]
    return text if text.endswith(".") else f"{text}."


# ---- errors, statuses, files --------------------------------------------------------------------


def error_kinds() -> str:
    """Return every kind of error with its exit code."""
    found: list[type[errors.BuildsysError]] = [errors.BuildsysError]
    found += errors.BuildsysError.__subclasses__()
    rows = [(_code(each.__name__), str(each.exit_code), _first(each.__doc__)) for each in found]
    return _table(("Kind", "Exit code", "When"), rows)


def statuses() -> str:
    """Return every status of a build with its meaning."""
    rows = [(_code(_headline(kind)), _meaning(STATUSES, kind)) for kind in Kind]
    return _table(("Status", "Meaning"), rows)


def _meaning(known: Mapping[str, str], key: str) -> str:
    """Return the sentence of this file for a value of the code. Raises LookupError without one."""
    if key not in known:
        raise LookupError(f"docs/generate.py has no sentence for {key!r}: write one")
    return known[key]


def _headline(kind: Kind) -> str:
    """Return a status as the table of builds prints it, with an ellipsis for details."""
    try:
        return Outcome(kind=kind, subject="…").headline
    except KeyError:  # it has no subject
        return str(kind)


_TYPES: dict[str, type] = {"manifest": manifests.Manifest, "diary": manifests.Diary}
_JSON_MEANINGS = {
    "Manifest": {
        "buildsys": "Version of buildsys.",
        "build": "Id of the build.",
        "target": "What it was built for.",
        "files": "Every other file of the package, by its name.",
        "preprocessing": "How an image becomes the input; `used_by`: the stages that prepare images"
        " so.",
        "steps": "Every step that led to the file, in order.",
        "evidence": "Figures and verdicts of the proofs, by stage.",
        "unverified": "What was not verified, in sentences.",
        "licences": "Licences that the tools and weights declare.",
        "selection": "Of a recipe with `select`: which variant ships.",
    },
    "ManifestTarget": {"name": "Name of the target.", "label": "Name of the board."},
    "ManifestFile": {"bytes": "Size.", "sha256": "SHA-256 digest."},
    "ManifestStep": {
        "stage": "Name of the step in this build.",
        "module": "Module in `buildsys/steps/`.",
        "action_key": "SHA-256 digest of code, parameters, tools and inputs.",
        "tool": "Tool and version.",
        "tool_lock": "Digest of the tool environment's lock.",
        "code": "Digest of the step's code.",
        "params": "Parameters.",
        "inputs": "SHA-256 digest of each input.",
        "outputs": "SHA-256 digest of each output.",
        "trained": "Of a recorded training: where it ran.",
    },
    "Trained": {"device": "`cpu` or the GPU's kind.", "torch": "Version of torch."},
    "ManifestSelection": {
        "chosen": "Id of the variant that ships.",
        "among": "The figures of every variant.",
        "maximize": "The metric that decided.",
        "minimize": "The metric that decided.",
    },
    "Diary": {
        "build": "Id of the build.",
        "finished": "When.",
        "host": "Where.",
        "steps": "How each result came.",
        "differs_from_lock": "In sentences: where the build is not what buildsys.lock recorded then.",
    },
    "DiaryHost": {
        "system": "Operating system.",
        "machine": "Processor architecture.",
        "cores": "Number of CPU cores.",
        "cpu": "Model of the CPU.",
        "instructions": "Instruction sets that its kernels depend on.",
    },
    "DiaryStep": {
        "stage": "Name of the step in this build.",
        "seconds": "How long it took when it ran; null where it came from elsewhere.",
        "this_run": "`built`, or `restored` where the store had the result.",
        "environment": "Tool environment.",
        "isolation": "How it was isolated.",
        "cpu": "Model of the CPU that made it.",
        "kernels": "Which kernels its libraries took there, by library.",
    },
}


def json_type(name: str) -> str:
    """Return the keys of a JSON file, and of its parts, from the type that reads and writes it."""
    found = TypeAdapter(_TYPES[name]).json_schema()
    parts = {str(found["title"]): found, **found.get("$defs", {})}
    blocks = []
    for title, rules in parts.items():
        rows = [
            [_code(key), _values(rule), _meaning(_JSON_MEANINGS[title], key)]
            for key, rule in rules["properties"].items()
        ]
        blocks.append(f"**{title}**\n\n{_table(('Key', 'Value', 'Meaning'), rows)}")
    return "\n\n".join(blocks)


def _first(text: str | None) -> str:
    """Return the first sentence or paragraph of a docstring."""
    return " ".join((text or "").strip().split("\n\n")[0].split())


# ---- what ships ---------------------------------------------------------------------------------


def targets(*names: str) -> str:
    """Return targets with their schemes, tasks and contracts; all targets if none is named."""
    rows, problems = overview.describe_targets(lookup.Boards(ROOT))
    assert not problems
    shown = [row for row in rows if not names or row.name in names]
    head = ["Target", "Board", "Schemes", "Firmware contracts"]
    cells = [[_code(row.name), row.board, ", ".join(row.schemes), _firmware(row)] for row in shown]
    width = 4 if any(row[3] for row in cells) else 3
    return _table(head[:width], [row[:width] for row in cells])


def _firmware(row: overview.TargetRow) -> str:
    """Return a target's contracts: one for all tasks, or one for each."""
    names = {found.contract for found in row.firmware}
    if len(names) <= 1:
        return _codes(names)
    return ", ".join(f"{found.task}: {_code(found.contract)}" for found in row.firmware)


def devices() -> str:
    """Return a line for each target, for the README."""
    rows, _ = overview.describe_targets(lookup.Boards(ROOT))
    return _table(
        ("Target", "Board or device", "Schemes"),
        [(_code(row.name), row.board, ", ".join(row.schemes)) for row in rows],
    )


def contracts(*beginnings: str) -> str:
    """Return the shipped firmware contracts, or those whose names begin with a prefix."""
    boards = lookup.Boards(ROOT)
    rows = []
    for name in sorted(boards.contracts):
        if beginnings and not name.startswith(beginnings):
            continue
        found = boards.contract(boards.contracts[name])
        unverified = "everything" if not found.verified else ", ".join(found.unverified())
        arena = f"{found.arena_kib} KiB" if found.arena_kib else ""
        rows.append(
            (_code(name), found.label, found.task or "any", found.head or "", arena, unverified)
        )
    head = ("Contract", "Firmware", "Task", "Head", "Arena", "Unverified lines")
    return _table(head, rows)


def recipes() -> str:
    """Return the shipped recipes, each with its first comment."""
    rows = []
    for path in sorted((ROOT / "recipes").glob("*.yaml")):
        comments = [line[2:] for line in _read(path).splitlines() if line.startswith("# ")]
        text = " ".join(comments[1:])
        rows.append((_code(path.stem), text.split(". ")[0].rstrip(".") + "."))
    return _table(("Recipe", ""), rows)


def steps() -> str:
    """Return the table of all steps."""
    rows = []
    for name in registry.step_names():
        step = registry.get_step(name)
        module = importlib.import_module(f"buildsys.steps.{name}")
        where = step.spec.tool_env if isinstance(step.spec.tool_env, str) else "by parameters"
        doc = re.sub(r"\s+\(steps/.*?\)$", "", _first(module.__doc__))
        rows.append((_code(name), where, doc.replace("|", "\\|")))
    return _table(("Step", "Tool environment", "What it does"), rows)


def step_fields() -> str:
    """Return the fields of StepSpec, each with its docstring."""
    (body,) = ast.parse(inspect.getsource(spec.StepSpec)).body
    assert isinstance(body, ast.ClassDef)
    rows = []
    for field, text in zip(body.body, body.body[1:], strict=False):
        if isinstance(field, ast.AnnAssign) and isinstance(text, ast.Expr):
            assert isinstance(field.target, ast.Name)
            assert isinstance(text.value, ast.Constant)
            rows.append((_code(field.target.id), " ".join(str(text.value.value).split())))
    assert len(rows) == len(dataclasses.fields(spec.StepSpec)), "a field has no sentence below it"
    return _table(("Field", "Meaning"), rows)


def tool_environments() -> str:
    """Return every tool environment with its version, its size, and its support on other hosts."""
    rows = []
    for env in (*definitions.all_tool_envs(), *definitions.external_envs()):
        size = [str(mib or "") for mib in (env.download_mib, env.disk_mib)]
        others = ", ".join(host for host, _ in env.unverified)
        rows.append((_code(env.name), env.version, env.purpose, *size, others))
    head = (
        "Environment",
        "Version",
        "Purpose",
        "Download (MiB)",
        "Disk (MiB)",
        "Locks for other hosts",
    )
    return _table(head, rows)


def network_table() -> str:
    """Return the table of networks: tasks, and schemes for each kind of target."""
    return networks.table(ROOT)


def example(name: str) -> str:
    """Return the README of an example, one heading level lower, with links relative to docs/."""
    text = _read(ROOT / "examples" / name / "README.md")
    pieces = re.split(r"(^```.*?^```)", text, flags=re.MULTILINE | re.DOTALL)
    pieces[::2] = [re.sub(r"^#", "##", prose, flags=re.MULTILINE) for prose in pieces[::2]]
    return re.sub(r"\]\(\.\./(\w+)/README\.md\)", _section, "".join(pieces)).replace(
        "](../../docs/", "]("
    )


def _section(found: re.Match[str]) -> str:
    """Return a link to another example as a link within this page."""
    title = _read(ROOT / "examples" / found[1] / "README.md").splitlines()[0].removeprefix("# ")
    return f"](#{title.lower().replace(' ', '-')})"


PARTS: dict[str, Callable[..., str]] = {
    "networks": network_table,
    "keys": keys,
    "commands": commands,
    "command-list": command_list,
    "error-kinds": error_kinds,
    "statuses": statuses,
    "json": json_type,
    "targets": targets,
    "devices": devices,
    "contracts": contracts,
    "recipes": recipes,
    "steps": steps,
    "step-fields": step_fields,
    "tool-environments": tool_environments,
    "example": example,
}

if __name__ == "__main__":
    main()
