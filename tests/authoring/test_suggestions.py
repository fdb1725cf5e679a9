"""Suggestions for misspelt words."""

import string

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from buildsys.authoring.recipes.recipe import Calibration, QuantizationBlock, Recipe, SourceModel
from buildsys.registry import step_names
from buildsys.steps.train_ultralytics import Settings
from buildsys.text import did_you_mean
from tests.authoring.spellings import STEADY

_LISTS = (
    tuple(Recipe.model_fields),
    tuple(SourceModel.model_fields),
    tuple(QuantizationBlock.model_fields),
    tuple(Calibration.model_fields),
    tuple(Settings.__dataclass_fields__),
    ("grove-vision-ai-v2", "xiao-esp32s3", "host", "checkpoint", "ethos-u55-128-high-end"),
    step_names(),
)


@st.composite
def _typos(draw: st.DrawFn, word: str) -> str:
    """The word with an added, removed, changed or swapped letter."""
    at = draw(st.integers(0, len(word) - 2))
    letter = draw(st.sampled_from(string.ascii_lowercase))
    kinds = (
        word[:at] + letter + word[at:],
        word[:at] + word[at + 1 :],
        word[:at] + letter + word[at + 1 :],
        word[:at] + word[at + 1] + word[at] + word[at + 2 :],
    )
    return draw(st.sampled_from(kinds))


@given(data=st.data())
@STEADY
@pytest.mark.parametrize("known", _LISTS, ids=lambda known: known[0])
def test_one_slip_is_understood(known: tuple[str, ...], data: st.DataObject) -> None:
    """A typo of one letter is answered with the right word."""
    meant = data.draw(st.sampled_from([word for word in known if len(word) > 3]))
    typed = data.draw(_typos(meant))
    assume(typed not in known)
    assert did_you_mean(typed, known) == f"did you mean `{meant}`?"


@pytest.mark.parametrize(
    ("typed", "known", "meant"),
    [
        ("onnx_tf", ("onnx2tf", "onnx-tf"), "onnx-tf"),
        ("yolox_nano", ("yolox-nano", "yolox-tiny"), "yolox-nano"),
        ("FLOAT16", ("float32", "float16"), "float16"),
        ("gruve", ("grove-vision-ai-v2", "host", "xiao-esp32s3"), "grove-vision-ai-v2"),
        ("grove", ("grove-vision-ai-v2", "host", "xiao-esp32s3"), "grove-vision-ai-v2"),
    ],
)
def test_hyphens_and_first_words_are_understood(
    typed: str, known: tuple[str, ...], meant: str
) -> None:
    """Missing hyphens and shortened names are understood."""
    assert did_you_mean(typed, known) == f"did you mean `{meant}`?"


def test_a_word_of_several_names_lists_them() -> None:
    """An ambiguous word lists all matching names."""
    told = did_you_mean("sscma", ("sscma-1.0-world-detector", "sscma-1.0-pose-decoder", "other"))
    assert told.startswith("there are: ")


def test_nothing_alike_lists_what_there_is() -> None:
    """If nothing is similar, the valid words are listed."""
    assert did_you_mean("Bildgröße", ("size", "color")) == "there are: color, size"


def test_long_lists_stay_away() -> None:
    """Long lists of names are not printed."""
    assert did_you_mean("zzz", [f"name-{number}" for number in range(40)]) == ""
