"""Whatever stands in a file, a person gets a message and never a traceback."""

import json
import pickletools
import zipfile
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from buildsys.authoring.document import parse_document
from buildsys.authoring.facts import read_checkpoint, read_dataset
from buildsys.errors import InputError
from tests.authoring.sample_workspace import SHA256, make_workspace, plan_all
from tests.authoring.spellings import STEADY, Path_, Value, replaced

_PIECES = (
    "a", "name", "1", "0x", "0o_", "1e", ".inf", "-.nan", "null", "yes", "~", "<<", "=", "2001-01-01",
    ": ", ":", "- ", "-", ", ", "{", "}", "[", "]", "? ", "|\n", ">-\n", "\n", "\n  ", "\t", " ",
    "&x ", "*x", "!!int ", "!!float ", "!!bool ", "!!set ", "!own ", "!!", "'", '"', "# ", "---\n",
    "...\n", "%YAML 1.1\n---\n", "%TAG ! !\n", "\ufeff", "\u2028", "\x85", "\x00", "\x0c", "é", "𝒳",
)  # fmt: skip
_SOUP = st.lists(st.sampled_from(_PIECES), max_size=25).map("".join)
"""Text that is nearly YAML: it gets further into the parser than arbitrary text."""


def _parse(text: str) -> None:
    try:
        parse_document(text, "any.yaml")
    except InputError as error:
        assert error.diagnostics
        assert all(diagnostic.render() for diagnostic in error.diagnostics)


@given(text=st.text(max_size=60) | _SOUP)
@settings(STEADY, max_examples=400)
def test_any_text_is_a_document_or_a_message(text: str) -> None:
    """A half-typed line ends in a traceback."""
    _parse(text)
