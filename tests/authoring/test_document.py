"""YAML with positions, including texts that were parsed before."""

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError

from buildsys.authoring.syntax.composing import compose
from buildsys.authoring.syntax.document import parse_document
from buildsys.errors import InputError

TEXT = "name: tags\nmatrix: {size: [64, 96]}\n"


def test_the_values_of_a_document_are_its_readers_own() -> None:
    """Changing the values of a document does not affect later readers of the same text."""
    first = parse_document(TEXT, "a.yaml")
    size = first.get("matrix", "size")
    assert isinstance(size, list)
    size.append(128)
    second = parse_document(TEXT, "a.yaml")
    assert second.data == {"name": "tags", "matrix": {"size": [64, 96]}}
    assert second.values == first.values
    assert second.diagnose(("matrix", "size", 1), "too large").line == 2


def test_the_same_text_in_another_file_is_reported_for_that_file() -> None:
    """A mistake in a text is reported for the file in which it was read."""
    assert [parse_document(TEXT, name).diagnose((), "x").path for name in ("a", "b")] == ["a", "b"]


def test_a_mistake_is_reported_every_time() -> None:
    """A mistake is reported every time the text is read."""
    for _ in range(2):
        with pytest.raises(InputError, match="duplicate key"):
            parse_document("a: 1\na: 2\n", "a.yaml")


ODD = """\
# comment
"quoted key": 'it''s'
plain words: a b, c:d e#f
-dash: -1.5e3
anchor: &x {a: [1, 2,3], b:c: {d: }, ? e : f}
alias: *x
lines: |
  text: here
folded: >-
  a
  b
several
  lines: no
"""


def _shape(node: Any) -> object:
    """A node's kind, tag, style, place and values."""
    marks = [(mark.index, mark.line, mark.column) for mark in (node.start_mark, node.end_mark)]
    parts = node.value
    if node.id == "mapping":
        parts = [(_shape(key), _shape(value)) for key, value in parts]
    elif node.id == "sequence":
        parts = [_shape(item) for item in parts]
    style = node.style if node.id == "scalar" else node.flow_style
    return node.id, str(node.tag), style, marks, parts


def _found(parse: Callable[[str], Any], text: str) -> object:
    try:
        root = parse(text)
    except MarkedYAMLError as error:
        mark = error.problem_mark
        return error.context, error.problem, (mark.line, mark.column)
    return root and _shape(root)


def test_a_text_is_composed_as_by_the_library_itself() -> None:
    """Our faster scanner gives the same values, positions and errors as the library."""
    whole = ODD.partition("several")[0]
    texts = [
        *(ODD[:end] for end in range(0, len(ODD), 5)),
        *(ODD[start:] for start in range(0, 90, 7)),
    ]
    own = partial(compose, max_depth=31)
    library = YAML(typ="safe", pure=True)
    assert own(whole).id == "mapping"
    for text in (whole, *texts):
        assert _found(own, text) == _found(library.compose, text), text


def test_zero_has_no_sign() -> None:
    """-0.0 equals 0.0, so a plan could not tell which of two variants it took; their texts differ."""
    document = parse_document("a: -0.0\nb: [0.0, -0.0e3]\n", "recipes/a.yaml")
    assert repr(document.data) == "{'a': 0.0, 'b': [0.0, 0.0]}"
