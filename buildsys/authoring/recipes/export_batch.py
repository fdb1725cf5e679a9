"""Mistakes in `export.batch`, by itself and for a target."""

import itertools

from buildsys.authoring.recipes.build import Build
from buildsys.authoring.recipes.pipelines import made_on_the_way
from buildsys.authoring.syntax.validation import Locate
from buildsys.errors import Diagnostic
from buildsys.spec import Format, Intermediate
from buildsys.steps.lib.heads.batch import LARGEST, WORDS
from buildsys.text import did_you_mean

_AT = ("export", "batch")
_EXAMPLE = "for example batch: {min: 1, opt: 8, max: 16}, or a single number"


def check_batch(written: int | dict[str, int], locate: Locate) -> list[Diagnostic]:
    """Return the first mistake: unknown keys, numbers out of range, or numbers in the wrong
    order.
    """
    named: list[tuple[tuple[str, ...], int]]
    if isinstance(written, int):
        named = [(_AT, written)]
    elif problem := _keys(written, locate):
        return [problem]
    else:
        named = [((*_AT, word), written[word]) for word in WORDS]
    for at, value in named:
        if not 1 <= value <= LARGEST:
            return [locate(at, f"`{at[-1]}` must be from 1 to {LARGEST}, not {value}")]
    for (at, value), (above, limit) in itertools.pairwise(named):
        if value > limit:
            message = f"`{at[-1]}` {value} is more than `{above[-1]}` {limit}"
            return [locate(at, message, "`min` ≤ `opt` ≤ `max` must hold")]
    return []


def _keys(written: dict[str, int], locate: Locate) -> Diagnostic | None:
    """Return a diagnostic unless the keys are `min`, `opt` and `max`."""
    for word in written:
        if word not in WORDS:
            hint = did_you_mean(word, WORDS)
            return locate((*_AT, word), f"unknown key `{word}`", hint, key=True)
    missing = [f"`{word}`" for word in WORDS if word not in written]
    if not missing:
        return None
    verb = "is" if len(missing) == 1 else "are"
    return locate(_AT, f"{' and '.join(missing)} {verb} missing here", _EXAMPLE, key=True)


def check_takes_batch(build: Build, locate: Locate) -> list[Diagnostic]:
    """Check that converted TFLite files, which take one image, have no batch of several."""
    board = build.target
    if build.batch == (1, 1, 1):
        return []
    made = made_on_the_way(board, build.recipe)
    if not made & {Format.SAVED_MODEL, Intermediate.FLOAT_TFLITE}:
        return []
    by = "TensorFlow" if Format.SAVED_MODEL in made else build.recipe.convert.tool
    message = f"files for {board.name} are converted by {by} and take one image at a time"
    hint = "remove `batch` here, and write it in the entries of targets that take more"
    return [locate(_AT, message, hint, key=True)]
