"""Text for users."""

import pytest

from buildsys.text import join_sentences, nearest


@pytest.mark.parametrize(
    ("sentences", "text"),
    [
        ([], ""),
        (["too low"], "too low"),
        (["mAP is 0.1", "recall is 0.2"], "mAP is 0.1; recall is 0.2"),
        (
            ["a is lost. Cure: x.", "b is full.", "c is lost. Cure: x."],
            "a is lost. c is lost. Cure: x. b is full.",
        ),
        (["a. Cure: x.", "b. Cure: y."], "a. Cure: x. b. Cure: y."),
    ],
)
def test_reasons_with_one_cure_say_it_once(sentences: list[str], text: str) -> None:
    """Several reasons with the same remedy state it once."""
    assert join_sentences(sentences) == text


def test_the_nearest_word_is_a_value() -> None:
    """The word that was probably meant, or None: callers do not read it out of a sentence."""
    assert nearest("tgas", ["tags", "cells"]) == "tags"
    assert nearest("esp32", ["xiao-esp32s3", "host"]) == "xiao-esp32s3"
    assert nearest("nope", ["tags", "cells"]) is None
