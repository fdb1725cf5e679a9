"""The digest of a step's code: every statement of the tool side, none of the planning side."""

import ast
import dataclasses
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import pytest

from buildsys.execution.state.code_digest import PACKAGE, code_digest, covered_modules
from buildsys.registry import get_step, step_names
from buildsys.spec import StepSpec
from tests.conftest import REPOSITORY
from tests.pythons import OTHERS, find_python

SPEC = (PACKAGE / "spec.py").read_text(encoding="utf-8")

LAUNCHER = "steps/lib/runtime/launcher.py"


def defined(text: str) -> dict[str, ast.stmt]:
    """Names of a file's top-level assignments, functions and classes, with their statements."""
    found: dict[str, ast.stmt] = {}
    for node in ast.parse(text).body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef):
            found[node.name] = node
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            found |= {
                part.id: node
                for part in ast.walk(node)
                if isinstance(part, ast.Name) and isinstance(part.ctx, ast.Store)
            }
    return found


VOCABULARY = defined(SPEC)
PUBLIC = [name for name in VOCABULARY if not name.startswith("_")]


def edited(name: str) -> str:
    """The vocabulary with another value of one name; for `A, B = 1, 2`, only of A or B."""
    node = VOCABULARY[name]
    lines = SPEC.splitlines()
    assert node.end_lineno is not None
    if isinstance(node, ast.ClassDef):
        lines.insert(node.end_lineno, "    EDITED = 1")
    elif isinstance(node, ast.FunctionDef):
        lines.insert(node.body[-1].lineno - 1, "    edited = 1")
    else:
        lines.insert(node.end_lineno, f"{name} = ({name}, 'edited')")
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Tuple | ast.Constant):
            # in place, because a second assignment would always count
            lines.pop(node.end_lineno)
            names = [n.id for n in ast.walk(node.targets[0]) if isinstance(n, ast.Name)]
            several = isinstance(node.targets[0], ast.Tuple)
            value = node.value
            if several and isinstance(value, ast.Tuple):
                values = [ast.unparse(item) for item in value.elts]
                values[names.index(name)] = "'edited'"
                text = f"{', '.join(names)} = {', '.join(values)}"
            else:
                text = f"{name} = 'edited'"
            lines[node.lineno - 1 : node.end_lineno] = [text]
    return "\n".join(lines)


def names_in(node: ast.stmt) -> set[str]:
    """Names that a statement binds or reads, without members of classes."""
    own = isinstance(node, ast.ClassDef)
    return {
        part.id
        for part in ast.walk(node)
        if isinstance(part, ast.Name) and (isinstance(part.ctx, ast.Load) or not own)
    }


def resting_on(name: str) -> set[str]:
    """Public names whose statements use a name directly or indirectly."""
    uses = {other: names_in(node) | {other} for other, node in VOCABULARY.items()}
    found = {name}
    while more := {other for other, used in uses.items() if used & found} - found:
        found |= more
    return found & set(PUBLIC)


class Package:
    """A package of a few files, to compute digests."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.write(LAUNCHER, "START = 1\n")

    def write(self, name: str, text: str) -> None:
        """Write a file of the package."""
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")

    def digest(self, module: str = "own") -> str:
        """The digest of a step from the present files."""
        code_digest.cache_clear()
        return code_digest(module, self.root)

    def differs(self, before: str, after: str, name: str = "steps/own.py") -> bool:
        """Whether a change of a file's text changes the step's digest."""
        self.write(name, before)
        first = self.digest()
        self.write(name, after)
        return self.digest() != first


@pytest.fixture
def package(tmp_path: Path) -> Package:
    """A package with one step, `own`."""
    made = Package(tmp_path / "buildsys")
    made.write("steps/own.py", "def run(): ...\n")
    return made


@pytest.fixture(scope="module")
def users(tmp_path_factory: pytest.TempPathFactory) -> Package:
    """A package with the real vocabulary, and a step for each of its names."""
    made = Package(tmp_path_factory.mktemp("users") / "buildsys")
    for name in PUBLIC:
        step = f"from buildsys.spec import {name}\ndef run(): return {name}\n"
        made.write(f"steps/uses_{name}.py", step)
    return made


@pytest.fixture(scope="module")
def shipped(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, str]]:
    """A copy of the real vocabulary and steps, and the digests of these."""
    root = tmp_path_factory.mktemp("shipped") / "buildsys"
    shutil.copytree(PACKAGE / "steps", root / "steps", ignore=shutil.ignore_patterns("*.pyc"))
    shutil.copyfile(PACKAGE / "spec.py", root / "spec.py")
    return root, shipped_digests(root)


def shipped_digests(root: Path) -> dict[str, str]:
    """The digest of every shipped step."""
    code_digest.cache_clear()
    return {name: code_digest(name, root) for name in step_names()}


def differing(before: dict[str, str], after: dict[str, str]) -> list[str]:
    """Steps whose digests differ."""
    return [name for name in before if before[name] != after[name]]


USERS = {
    "MASK_STRIDE": {"evaluate_tflite", "evaluate_onnx", "evaluate_engine"},
    "PAD_GREY": {"prepare_pictures", "evaluate_tflite", "record_onnx"},
    "Slot": {"fit_memory", "package_flash"},
    "BoardSpec": set(),
    "SUFFIXES": {"package_files"},
}
"""Some expected entries, so that the table below cannot be empty."""


@pytest.mark.parametrize("name", PUBLIC)
def test_shipped_steps_that_use_a_word(name: str, shipped: tuple[Path, dict[str, str]]) -> None:
    """Which steps a changed name of the vocabulary affects."""
    root, before = shipped
    (root / "spec.py").write_text(edited(name), encoding="utf-8")
    changed = differing(before, shipped_digests(root))
    print(f"\n{name:<16} {len(changed):>2} of {len(before)}: {' '.join(changed) or '-'}")
    assert USERS.get(name, set()) <= set(changed) < set(before)


@pytest.mark.parametrize(
    "module",
    [
        "images/prepared_images",
        "heads/oriented_boxes",
        "heads/placement",
        "heads/yolov8_decoding",
        "metrics/accuracy",
        "metrics/curves",
    ],
)
def test_no_training_rests_on_how_accuracy_is_measured(
    module: str, shipped: tuple[Path, dict[str, str]]
) -> None:
    """A change of how accuracy is measured does not affect trainings."""
    root, _ = shipped
    shutil.copyfile(PACKAGE / "spec.py", root / "spec.py")
    before, path = shipped_digests(root), root / "steps" / "lib" / f"{module}.py"
    text = path.read_text(encoding="utf-8")
    path.write_text(f"{text}\nEDITED = 1\n", encoding="utf-8")
    changed = differing(before, shipped_digests(root))
    path.write_text(text, encoding="utf-8")
    assert {"evaluate_ultralytics", "evaluate_tflite", "predict_onnx"} <= set(changed)
    assert not [name for name in changed if name.startswith("train_")]


def test_a_pin_of_the_arithmetic_counts_for_every_step(
    shipped: tuple[Path, dict[str, str]],
) -> None:
    """The pinned arithmetic is part of every step's digest."""
    root, before = shipped
    path = root / "steps" / "lib" / "runtime" / "pinned_arithmetic.py"
    text = path.read_text(encoding="utf-8")
    path.write_text(text.replace('"MKL_CBWR": "COMPATIBLE"', '"MKL_CBWR": "AVX2"'))
    try:
        assert differing(before, shipped_digests(root)) == list(before)
    finally:
        path.write_text(text, encoding="utf-8")


@pytest.mark.parametrize("name", PUBLIC)
def test_another_meaning_of_a_word_counts_for_the_steps_that_use_it(
    name: str, users: Package
) -> None:
    """A changed name affects exactly the steps that use it."""
    users.write("spec.py", SPEC)
    before = {other: users.digest(f"uses_{other}") for other in PUBLIC}
    users.write("spec.py", edited(name))
    changed = {other for other in PUBLIC if users.digest(f"uses_{other}") != before[other]}
    assert changed == resting_on(name)


def with_fields(text: str, fields: tuple[str, ...]) -> str:
    """A step module with other values of some fields of STEP."""
    call = next(
        node.value
        for node in ast.parse(text).body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "STEP"
    )
    assert isinstance(call, ast.Call)
    lines = text.splitlines(keepends=True)

    def offset(line: int | None, column: int | None) -> int:
        assert line is not None
        assert column is not None
        before = lines[line - 1].encode()[:column].decode()
        return sum(len(line) for line in lines[: line - 1]) + len(before)

    values = {item.arg: item.value for item in call.keywords}
    start = offset(call.func.end_lineno, call.func.end_col_offset) + len("(")
    missing = "".join(f"{field}='edited', " for field in fields if field not in values)
    edits = [(start, start, missing)]
    for field in set(fields) & values.keys():
        value = values[field]
        first = offset(value.lineno, value.col_offset)
        last = offset(value.end_lineno, value.end_col_offset)
        edits.append((first, last, "'edited'"))
    for first, last, new in sorted(edits, reverse=True):
        assert text[first:last] != new or first == last
        text = text[:first] + new + text[last:]
    return text


def digests_with(fields: tuple[str, ...], root: Path, steps: Iterable[str]) -> dict[str, str]:
    """The digests of steps whose STEP has other values in some fields."""
    code_digest.cache_clear()
    found = {}
    for name in steps:
        text = (PACKAGE / "steps" / f"{name}.py").read_text(encoding="utf-8")
        edited = root / "steps" / f"{name}.py"
        edited.write_text(with_fields(text, fields), encoding="utf-8")
        found[name] = code_digest(name, root)
        edited.write_text(text, encoding="utf-8")
    return found


FIELDS = tuple(field.name for field in dataclasses.fields(StepSpec))


@pytest.fixture(scope="module")
def edited_together(shipped: tuple[Path, dict[str, str]]) -> list[str]:
    """Steps whose digests change if every field of STEP is changed."""
    root, before = shipped
    (root / "spec.py").write_text(SPEC, encoding="utf-8")
    return differing(before, digests_with(FIELDS, root, before))


@pytest.mark.parametrize("field", FIELDS)
def test_no_field_of_a_step_spec_counts(
    field: str, shipped: tuple[Path, dict[str, str]], edited_together: list[str]
) -> None:
    """No field of StepSpec is part of a digest: each is changed in every shipped step module.

    If no digest changes with all fields changed, none changes with a single one.
    """
    root, before = shipped
    suspects = {name: before[name] for name in edited_together}
    (root / "spec.py").write_text(SPEC, encoding="utf-8")
    changed = differing(suspects, digests_with((field,), root, suspects))
    set_in = sum(field in {item.name for item in set_fields(name)} for name in before)
    print(f"\n{field:<16} set in {set_in:>2}; edited in {len(before)}: {' '.join(changed) or '-'}")
    assert changed == []


def test_a_step_that_reads_its_spec_is_found(package: Package) -> None:
    """A step that reads its STEP is detected, which validates the test above."""
    text = "STEP = StepSpec(stage='one', block='')\ndef run(): return STEP.stage\n"
    edited = with_fields(text, ("block", "local"))
    assert edited.splitlines()[0] == "STEP = StepSpec(local='edited', stage='one', block='edited')"
    assert package.differs(text, with_fields(text, FIELDS))


def set_fields(name: str) -> list[dataclasses.Field[object]]:
    """Fields of a step's STEP with values other than the defaults."""
    spec = get_step(name).spec
    return [item for item in dataclasses.fields(spec) if getattr(spec, item.name) != item.default]


PARAMS = "class Params:\n    task: str\n"
PLANNING = {
    "STEP": "STEP = StepSpec(stage='one')",
    "a callable that only STEP refers to": "def asks(params): return 1\nSTEP = StepSpec(needs=asks)",
    "what nobody refers to": "MOST = 1",
    "what such a callable calls": (
        "def deep(): return 1\ndef asks(params): return deep()\nSTEP = StepSpec(needs=asks)"
    ),
    "a lambda in STEP": "STEP = StepSpec(resources=lambda params: 1)",
    "a name that STEP binds for itself": (
        f"{PARAMS}STEP = StepSpec(tasks=[task + 1 for task in y])"
    ),
    "Settings": "class Settings:\n    epochs: int = 1",
    "plan": "def plan(settings, model, board): return 1",
    "a constant of plan": "MOST = 1\ndef plan(settings, model, board): return MOST",
    "an annotated constant of plan": "MOST: int = 1\ndef plan(a, b, c): return MOST",
    "a pair of constants of plan": "MOST, LEAST = 1, 1\ndef plan(a, b, c): return MOST + LEAST",
    "a base of Settings": "class Base:\n    epochs = 1\nclass Settings(Base): ...",
    "an import of plan": "from buildsys.spec import A as B\ndef plan(a, b, c): return B(1)",
    "__all__": "__all__ = ['run', '1']",
}


@pytest.mark.parametrize("form", PLANNING)
def test_the_planning_side_counts_for_nothing(form: str, package: Package) -> None:
    """The planning side is not part of the digest, because its decisions are in the parameters."""
    text = f"{PLANNING[form]}\ndef run(): return 0\n"
    assert not package.differs(text, text.replace("1", "2"))
    assert not package.differs(text, f"{PARAMS if PARAMS in text else ''}def run(): return 0\n")


SHARED = {
    "a constant that run uses, too": "MOST = 1\nSTEP = StepSpec(most=MOST)\ndef run(): return MOST",
    "a field of STEP that run reads": "STEP = StepSpec(most=1)\ndef run(): return STEP.most",
    "Settings where run builds them": "class Settings:\n    n = 1\ndef run(): return Settings()",
}


@pytest.mark.parametrize("form", SHARED)
def test_what_both_sides_use_counts(form: str, package: Package) -> None:
    """A name that both sides use is part of the digest."""
    text = SHARED[form]
    assert package.differs(text, text.replace("1", "2"))


FORMS = {
    "a constant": "X = 1",
    "a pair": "X, Y = 0, 1",
    "a starred target": "X, *Y = 0, 1, 2",
    "a list of targets": "[X, Y] = 0, 1",
    "two targets": "X = Y = 1",
    "an annotated constant": "X: int = 1",
    "an annotation": "X: 'Literal[1]'",
    "an augmented assignment": "X = 0\nX += 1",
    "an item": "X = {}\nX['key'] = 1",
    "an attribute": "X = object\nX.y = 1",
    "a call for its effect": "X = {}\nX.update(key=1)",
    "a call of nobody's": "print(1)",
    "a walrus": "print(X := 1)",
    "a walrus in a comprehension": "Y = [X := 1 for n in y]",
    "a function": "def X(): return 1",
    "an async function": "async def X(): return 1",
    "a default": "def X(n=1): ...",
    "a default of a keyword": "def X(*, n=1): ...",
    "an annotation of an argument": "def X(n: 'Literal[1]'): ...",
    "a decorator": "@cache(1)\ndef X(): ...",
    "a decorator of a class": "@dataclass(slots=1)\nclass X: ...",
    "a lambda": "X = lambda: 1",
    "a class attribute": "class X:\n    y = 1",
    "a pair of class attributes": "class X:\n    y, z = 0, 1",
    "a field": "class X:\n    y: int = 1",
    "a method": "class X:\n    def y(self): return 1",
    "a base": "class X(base(1)): ...",
    "a keyword of a class": "class X(metaclass=kind(1)): ...",
    "a condition": "if 1:\n    X = 0",
    "a conditional definition": "if sys.version_info:\n    def X(): return 1",
    "its other branch": "if sys.version_info:\n    X = 0\nelse:\n    X = 1",
    "a try": "try:\n    import a\nexcept ImportError:\n    X = 1",
    "a with": "with suppress(Exception):\n    X = 1",
    "a loop": "for X in range(1): ...",
    "a comprehension": "X = [n for n in range(1)]",
    "a format": "X = f'{y:.1f}'",
    "a text with a placeholder": "X = f'1{y}'",
    "a match": "match y:\n    case 1: X = 0",
    "a global": "def X():\n    global Y\n    Y = 1",
    "an assertion": "assert 1",
    "a deletion": "X = {}\ndel X[1]",
    "an import": "import tool1 as X",
    "a name of an import": "from tool import part1 as X",
    "an import in a function": "def X():\n    from tool import part1",
    "a function that a decorator registers": "@register(1)\ndef X(): ...",
    "an item that a class body sets": "class X:\n    Y['key'] = 1",
    "a call in a class body": "class X:\n    y.append(1)",
    "a value for its effect": "X = _ = y(1)",
    "a __getattr__ of the module": "X = 0\ndef __getattr__(name): return 1",
}
EFFECTS = {
    "an item",
    "an attribute",
    "a call for its effect",
    "a call of nobody's",
    "a walrus",
    "a condition",
    "a conditional definition",
    "its other branch",
    "a try",
    "a with",
    "a loop",
    "a match",
    "an assertion",
    "a deletion",
    "a function that a decorator registers",
    "an item that a class body sets",
    "a call in a class body",
    "a value for its effect",
    "a __getattr__ of the module",
}
"""Statements that count even if their names are unused, because they may have effects."""


@pytest.mark.parametrize("place", ["the step", "a helper", "a package of helpers", "the launcher"])
@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_statement_counts(form: str, place: str, package: Package) -> None:
    """Every form of statement counts, in the step's module, its imports and the launcher."""
    name = {
        "the step": "steps/own.py",
        "a helper": "steps/lib/some/helper.py",
        "a package of helpers": "steps/lib/some/__init__.py",
        "the launcher": LAUNCHER,
    }[place]
    own = "from buildsys.steps.lib.some import helper\ndef run(): return helper, X\n"
    package.write("steps/own.py", own)
    package.write("steps/lib/some/helper.py", "")
    text = FORMS[form] + (f"\n{own}" if place == "the step" else "")
    assert package.differs(text, text.replace("1", "2"), name)


@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_a_word_counts_where_it_is_used(form: str, package: Package) -> None:
    """Every form of definition in the vocabulary counts for a step that uses it."""
    text = FORMS[form]
    package.write("steps/own.py", "from buildsys.spec import X\ndef run(): return X\n")
    assert package.differs(text, text.replace("1", "2"), "spec.py")
    package.write("steps/own.py", "from buildsys.spec import Z\ndef run(): return Z\n")
    always = form in EFFECTS
    other = text.replace("1", "2") + "\nZ = 0"
    assert package.differs(f"{text}\nZ = 0", other, "spec.py") == always


IMPORTS = {
    "a module": "import buildsys.steps.lib.some.helper\ndef run(): buildsys",
    "a module by another name": "import buildsys.steps.lib.some.helper as h\ndef run(): h",
    "a module of a package": "from buildsys.steps.lib.some import helper\ndef run(): helper",
    "a name of a module": "from buildsys.steps.lib.some.helper import X\ndef run(): X",
    "relative": "from .lib.some import helper\ndef run(): helper",
    "for a parameter": "from buildsys.steps.lib.some.helper import X\nclass Params:\n    x: X",
    "for a parameter, as text": (
        "from buildsys.steps.lib.some.helper import X\nclass Params:\n    x: 'tuple[X]'"
    ),
    "in a function": "def run():\n    from buildsys.steps.lib.some import helper",
    "under a condition": "if True:\n    from buildsys.steps.lib.some import helper",
    "by a helper": "from buildsys.steps.lib.some import between\ndef run(): between",
}


@pytest.mark.parametrize("form", IMPORTS)
def test_what_a_step_imports_counts_however_it_is_imported(form: str, package: Package) -> None:
    """Imported code counts for every form of import."""
    package.write("steps/own.py", f"{IMPORTS[form]}\n")
    package.write("steps/lib/some/between.py", "from buildsys.steps.lib.some import helper\n")
    assert package.differs("X = 1", "X = 2", "steps/lib/some/helper.py")


def test_words_count_however_the_vocabulary_is_imported(package: Package) -> None:
    """`spec.X` uses only X; passing the module on uses all of it."""
    package.write("steps/own.py", "from buildsys import spec\ndef run(): return spec.X\n")
    assert package.differs("X = 1\nY = 1", "X = 2\nY = 1", "spec.py")
    assert not package.differs("X = 1\nY = 1", "X = 1\nY = 2", "spec.py")
    for text in ("from buildsys import spec\nS = spec", "import buildsys.spec as S"):
        package.write("steps/own.py", f"{text}\ndef run(): S")
        assert package.differs("X = 1\nY = 1", "X = 1\nY = 2", "spec.py")


def test_a_star_import_uses_every_word(package: Package) -> None:
    """A star import uses every name."""
    package.write("steps/own.py", "from buildsys.spec import *\ndef run(): return X\n")
    assert package.differs("X = 1", "X = 2", "spec.py")


def test_a_package_hides_a_module_of_its_name(package: Package) -> None:
    """A package `helper/` takes precedence over `helper.py`, as in Python."""
    package.write("steps/own.py", "from buildsys.steps.lib.some import helper\ndef run(): helper\n")
    package.write("steps/lib/some/helper.py", "X = 0\n")
    (package.root / "steps" / "lib" / "some" / "helper").mkdir()
    assert package.differs("X = 1", "X = 2", "steps/lib/some/helper/__init__.py")


def test_a_release_changes_no_step(package: Package) -> None:
    """The package's version is not part of a digest."""
    assert not package.differs("__version__ = '1'", "__version__ = '2'", "__init__.py")


def test_of_another_steps_module_the_tool_side_counts(package: Package) -> None:
    """Of another step's module only the tool side counts."""
    package.write("steps/own.py", "from buildsys.steps import other\ndef run(): other.X()\n")
    text = (
        "LEAST = 1\ndef X(): return 3\ndef plan(a, b, c): return LEAST\nSTEP = StepSpec(n=LEAST)\n"
    )
    assert package.differs(text, text.replace("3", "4"), "steps/other.py")
    assert not package.differs(text, text.replace("1", "2"), "steps/other.py")
    package.write("steps/own.py", "from buildsys.steps.other import LEAST\ndef run(): LEAST\n")
    assert package.differs(text, text.replace("1", "2"), "steps/other.py")


SAME = {
    "a comment": ("X = 1", "X = 1  # why"),
    "blank lines": ("X = 1\nY = 2", "X = 1\n\n\nY = 2\n"),
    "a docstring of the module": ("X = 1", '"""Text."""\nX = 1'),
    "a docstring of a constant": ("X = 1", 'X = 1\n"""Text."""'),
    "a docstring of a function": ("def f(): return 1", 'def f():\n    """Text."""\n    return 1'),
    "a docstring of a class": ("class C:\n    x = 1", 'class C:\n    """Text."""\n    x = 1'),
    "a docstring that is all": ("class C: pass", 'class C:\n    """Text."""'),
    "quotes": ("X = 'a'", 'X = "a"'),
    "a raw text": (r"X = '\\d'", r"X = r'\d'"),
    "texts side by side": ("X = 'ab'", "X = ('a'\n    'b')"),
    "texts beside a placeholder": ("X = f'a{b}cd'", "X = (f'a{b}c' 'd')"),
    "an f-string without a placeholder": ("X = 'a{'", "X = f'a{{'"),
    "notation of numbers": ("X = 255, 1e3", "X = 0xFF, 1000.0"),
    "parentheses": ("X = 1 + 2", "X = (1 + 2)"),
    "parentheses around a tuple": ("X, Y = 1, 2", "(X, Y) = (1, 2)"),
    "parentheses of a class": ("class C(): x = 1", "class C:\n    x = 1"),
    "parentheses of del": ("del X, Y", "del (X, Y)"),
    "a trailing comma": ("X = f(1, 2)", "X = f(\n    1,\n    2,\n)"),
    "a line that goes on": ("X = 1 + 2", "X = 1 + \\\n    2"),
    "a semicolon": ("X = 1; Y = 2", "X = 1\nY = 2"),
    "indentation": ("if a:\n  X = 1", "if a:\n        X = 1"),
    "imports of one module": ("from a import b, c", "from a import b\nfrom a import c"),
    "an import in parentheses": ("from a import b, c", "from a import (\n    b,\n    c,\n)"),
}


@pytest.mark.parametrize("form", SAME)
def test_layout_counts_for_nothing(form: str, package: Package) -> None:
    """Layout, comments and docstrings are not part of a digest."""
    assert not package.differs(*SAME[form], LAUNCHER)


DIFFERENT = {
    "a truth and a number": ("X = 1", "X = True"),
    "a number and a fraction": ("X = 1", "X = 1.0"),
    "a text and bytes": ("X = 'a'", "X = b'a'"),
    "a text and a name": ("X = 'a'", "X = a"),
    "an order": ("X = a - b", "X = b - a"),
    "a group": ("X = (a - b) - c", "X = a - (b - c)"),
    "a tuple of one": ("X = (a)", "X = (a,)"),
    "a text that looks like a placeholder": ("X = '{a}'", "X = f'{a}'"),
    "a conversion": ("X = f'{a}'", "X = f'{a!r}'"),
    "an else": ("for a in b: c\nd", "for a in b: c\nelse: d"),
    "a statement in a block": ("if a: b\nc", "if a:\n    b\n    c"),
    "keyword and position": ("f(a)", "f(a=a)"),
    "a star": ("f(a)", "f(*a)"),
    "two stars": ("X = {**a}", "X = {None: a}"),
    "await": ("async def f(): a()", "async def f(): await a()"),
    "a kind of argument": ("def f(a, /): ...", "def f(a): ..."),
    "a keyword argument": ("def f(*, a): ...", "def f(a): ..."),
}


@pytest.mark.parametrize("form", DIFFERENT)
def test_meaning_counts(form: str, package: Package) -> None:
    """Texts with different meaning have different digests."""
    assert package.differs(*DIFFERENT[form], LAUNCHER)


def test_a_formatter_changes_no_digest(tmp_path: Path) -> None:
    """Reformatting the whole package changes no digest."""
    formatted = tmp_path / "buildsys"
    shutil.copytree(PACKAGE, formatted, ignore=shutil.ignore_patterns("__pycache__", "envs"))
    settings = ["line-length = 60", "format.quote-style = 'single'"]
    settings += ["format.skip-magic-trailing-comma = true", "format.indent-style = 'tab'"]
    options = [part for setting in settings for part in ("--config", setting)]
    ruff = Path(sys.executable).parent / "ruff"
    command = [str(ruff), "format", "--quiet", "--isolated", *options, str(formatted)]
    subprocess.run(command, check=True)
    assert (formatted / "spec.py").read_text() != SPEC
    for step in step_names():
        assert code_digest(step, formatted) == code_digest(step, PACKAGE), step


SHARED_BY_TRAININGS = {
    "images.image_files",
    "images.overlays",
    "training.best_epoch",
    "training.training_files",
    "training.training_memory",
    "training.training_state",
    "runtime.launcher",
    "runtime.pinned_arithmetic",
    "runtime.progress",
    "runtime.torch_setup",
}
MODULES_OF_TRAININGS = {
    "train_ultralytics": {
        "training.fake_quantization",
        "families.ultralytics_batch",
        "families.ultralytics_epochs",
        "families.ultralytics_setup",
        "heads.box_corners",
    },
    "train_yolox": {
        "families.yolox_data",
        "families.yolox_network",
        "families.yolox_validation",
    },
}
"""The modules of steps/lib that decide what each training's result is: every edit of one makes all
users' trainings run again.
"""


@pytest.mark.parametrize("step", [name for name in step_names() if get_step(name).spec.trains])
def test_the_digest_of_a_training_covers_what_it_runs(step: str) -> None:
    """A training imports no module for a check, a message or a report: those may change."""
    library = "buildsys.steps.lib."
    covered = covered_modules(step, PACKAGE)
    found = {name.removeprefix(library) for name in covered if name.startswith(library)}
    assert found == SHARED_BY_TRAININGS | MODULES_OF_TRAININGS[step]


SCRIPT = """
import json, sys
from pathlib import Path
from buildsys.execution.state.code_digest import PACKAGE, code_digest
print(json.dumps({name: code_digest(name, Path(sys.argv[1])) for name in sys.argv[2:]}))
"""
AWKWARD = r"""
X = f"a{b!r:>{width}}c" f"{d=}" "é{}\N{BULLET}" f"{{}}" rf"\d{e:}" f"{g:{h}{i}}{j:%Y-%m-%d}"
Y = ("\u0378\U0001fae8\ud800", b"\xff", 1_000, 0x1F, 1e400, 2j, ..., None, -0.0)
def run(a, /, b=1, *c, d: "int", e=None, **f) -> None:
    async def g(): return [x async for x in y if await z]
    match a:
        case {"k": [1, *rest], **other} if (n := 1): del (n, a[0])
        case C(x=1) | None as whole: pass
    try: pass
    except* ValueError as error: raise error from None
    with (open(a) as p, open(b) as q): return lambda *, k=2: (yield)
"""


@pytest.mark.slow
@pytest.mark.parametrize("version", OTHERS)
def test_every_python_gives_the_same_digests(version: str, tmp_path: Path) -> None:
    """Every Python version computes the same digests."""
    python = find_python(version)
    if python is None:
        pytest.skip(f"Python {version} is not installed")
    package = tmp_path / "buildsys"
    shutil.copytree(PACKAGE, package, ignore=shutil.ignore_patterns("__pycache__", "envs"))
    (package / "steps" / "awkward.py").write_text(AWKWARD, encoding="utf-8")
    names = [*step_names(), "awkward"]
    done = subprocess.run(
        [python, "-c", SCRIPT, str(package), *names],
        check=True,
        capture_output=True,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY), "PYTHONDONTWRITEBYTECODE": "1"},
    )
    assert json.loads(done.stdout) == {name: code_digest(name, package) for name in names}
