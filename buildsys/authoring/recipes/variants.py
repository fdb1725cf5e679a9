"""`matrix`: axes that multiply; each combination is a variant with its own name."""

import itertools
import re
from dataclasses import dataclass

from buildsys.authoring.recipes.recipe import TARGET_BLOCKS, Recipe
from buildsys.authoring.syntax.document import Document, KeyPath
from buildsys.authoring.syntax.scope import Layer, Scope
from buildsys.authoring.syntax.values import NAME
from buildsys.errors import Diagnostic, InputError

STRUCTURE = ("name", *Recipe.BESIDE)
"""Keys that define what is built, not how: a variant cannot change them."""
_MOST_VARIANTS = 1000


@dataclass(frozen=True, kw_only=True)
class Variant:
    """One combination: its name ("160-per-tensor"; empty without a matrix) and its values."""

    name: str
    layers: tuple[Layer, ...]


@dataclass(frozen=True, kw_only=True)
class _Value:
    """One value of an axis: its name, and the parts of files with its keys."""

    name: str
    layers: tuple[Layer, ...]


def variants(own: Scope) -> tuple[Variant, ...]:
    """Return every combination of the axes, in order. Raises InputError with all mistakes."""
    matrix = _matrix(own)
    if matrix is None:
        return (Variant(name="", layers=()),)
    axes: list[tuple[_Value, ...]] = []
    problems: list[Diagnostic] = []
    for name in matrix:
        try:
            axes.append(_axis(own, name, matrix[name]))
        except InputError as error:
            problems += error.diagnostics
    count = 1
    for axis in axes:
        count *= len(axis)
    if count > _MOST_VARIANTS:
        message = f"`matrix` makes {count} variants; a recipe can have at most {_MOST_VARIANTS}"
        problems.append(own.locate(("matrix",), message, "write several recipes", key=True))
    if problems:
        raise InputError(*problems)
    found = [_combine(values) for values in itertools.product(*axes)]
    _check_distinct(own, found)
    return tuple(found)


def _matrix(own: Scope) -> dict[str, object] | None:
    matrix = own.merged().get("matrix")
    if matrix is None:
        return None
    if not isinstance(matrix, dict) or not matrix:
        message = "`matrix` maps paths of the recipe to lists of values"
        hint = "for example matrix: {input.size: [160, 192]}"
        raise InputError(own.locate(("matrix",), message, hint, key=True))
    return matrix


def _axis(own: Scope, name: str, values: object) -> tuple[_Value, ...]:
    at: KeyPath = ("matrix", name)
    if isinstance(values, dict) and values:
        return tuple(_patch(own, name, word) for word in values)
    if not isinstance(values, list) or not values:
        message = f"`{name}` must be a list of values, or a block of named patches"
        hint = f"{name}: [160, 192], or {name}: {{small: {{input: {{size: 160}}}}}}"
        raise InputError(own.locate(at, message, hint))
    path = tuple(name.split("."))
    if path[0] in STRUCTURE or path[0] not in {*Recipe.model_fields, *TARGET_BLOCKS} or "" in path:
        message = f"`{name}` is not a path of the recipe that a variant can change"
        hint = "use a dotted path, such as input.size or quantization.granularity"
        raise InputError(own.locate(at, message, hint, key=True))
    home = own.home(at)
    assert home is not None
    found: list[_Value] = []
    for index, value in enumerate(values):
        word, place = _word(value), (*at, index)
        if word is None:
            message = "this value cannot be used as a variant's name"
            hint = f"give it a name: {path[-1]}: {{some-name: {{{path[0]}: …}}}}"
            raise InputError(own.locate(place, message, hint))
        if any(other.name == word for other in found):
            raise InputError(own.locate(place, f"duplicate value `{word}`"))
        found.append(_Value(name=word, layers=(_part(home.document, place, path),)))
    return tuple(found)


def _patch(own: Scope, axis: str, word: str) -> _Value:
    """Return a named patch: blocks of the recipe, from every layer that has some."""
    at: KeyPath = ("matrix", axis, word)
    if not re.fullmatch(NAME, word):
        hint = "use lowercase letters, digits and hyphens; start with a letter or digit"
        raise InputError(
            own.locate(at, f"`{word}` cannot be used as a variant's name", hint, key=True)
        )
    layers = []
    for layer in own.layers:
        if layer.place(at)[1] < len(at):
            continue
        patch = layer.document.get("matrix", axis, word)
        if patch is not None and not isinstance(patch, dict):
            message = f"`{word}` must be a block of the keys that this variant changes"
            raise InputError(
                layer.document.diagnose(at, message, "for example {input: {size: 160}}")
            )
        for key in patch or {}:
            if key in STRUCTURE:
                message = f"a variant cannot change `{key}`"
                raise InputError(layer.document.diagnose((*at, key), message, key=True))
        layers += [_part(layer.document, at, ())] if patch else []
    return _Value(name=word, layers=tuple(layers))


def _part(document: Document, base: KeyPath, prefix: KeyPath) -> Layer:
    return Layer(document=document, base=base, prefix=prefix)


def _word(value: object) -> str | None:
    """Return the name of a value in an id: 160, 160x192, per-tensor; None if it cannot be one."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list) and value and all(type(item) is int for item in value):
        text = "x".join(map(str, value))
    elif isinstance(value, str | int | float):
        text = re.sub(r"[._+ ]+", "-", str(value).lower())
    else:
        return None
    return text if re.fullmatch(NAME, text) and len(text) <= 40 else None


def _combine(values: tuple[_Value, ...]) -> Variant:
    return Variant(
        name="-".join(value.name for value in values),
        layers=tuple(layer for value in values for layer in value.layers),
    )


def _check_distinct(own: Scope, found: list[Variant]) -> None:
    """Check that combinations have different names: 1 and 2-3 would equal 1-2 and 3."""
    names = [variant.name for variant in found]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        message = f"two variants have the same name `{twice[0]}`"
        problem: Diagnostic = own.locate(("matrix",), message, "name one of them", key=True)
        raise InputError(problem)
