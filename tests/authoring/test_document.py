"""YAML with positions: of a text that was parsed before, too."""

import pytest

from buildsys.authoring.syntax.document import parse_document
from buildsys.errors import InputError

TEXT = "name: tags\nmatrix: {size: [64, 96]}\n"


def test_the_values_of_a_document_are_its_readers_own() -> None:
    """Whoever changes them changes nothing for the next reader of the same text."""
    first = parse_document(TEXT, "a.yaml")
    size = first.get("matrix", "size")
    assert isinstance(size, list)
    size.append(128)
    second = parse_document(TEXT, "a.yaml")
    assert second.data == {"name": "tags", "matrix": {"size": [64, 96]}}
    assert second.values == first.values
    assert second.diagnose(("matrix", "size", 1), "too large").line == 2


def test_the_same_text_in_another_file_is_told_of_that_file() -> None:
    """Two recipes may be alike."""
    assert [parse_document(TEXT, name).diagnose((), "x").path for name in ("a", "b")] == ["a", "b"]


def test_a_mistake_is_told_every_time() -> None:
    """It is not forgotten by being told once."""
    for _ in range(2):
        with pytest.raises(InputError, match="duplicate key"):
            parse_document("a: 1\na: 2\n", "a.yaml")
