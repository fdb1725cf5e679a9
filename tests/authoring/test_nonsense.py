"""Any content of a file gives a message, never a traceback."""

import json
from pathlib import Path

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from buildsys.authoring.syntax.document import parse_document
from buildsys.errors import Diagnostic, InputError
from tests.authoring.mutations import PIECES
from tests.authoring.sample_workspace import TAGS_SHA256, expecting, make_workspace, plan_all
from tests.authoring.spellings import STEADY, KeyPath, Value, replaced
from tests.repetitions import repetitions

_SOUP = st.lists(st.sampled_from(PIECES), max_size=25).map("".join)
"""Nearly valid YAML, which gets further into the parser than arbitrary text."""


def _parse(text: str) -> None:
    told: tuple[Diagnostic, ...] = ()
    try:
        parse_document(text, "any.yaml")
    except InputError as error:
        told = error.diagnostics
    assert all(diagnostic.render() for diagnostic in told)


@given(text=st.text(max_size=60) | _SOUP)
# shrinking takes a long time
@settings(STEADY, max_examples=repetitions(100), phases=(Phase.generate,))
def test_any_text_is_a_document_or_a_message(text: str) -> None:
    """Any text gives a document or a message."""
    _parse(text)


_NASTY = {
    "integer-without-digits": "0o_",
    "tag-that-lies": "!!float tag",
    "alias-of-itself": "&again [*again]",
    "nested-too-deep": "[" * 2000,
    "integer-too-long": "9" * 5000,
    "old-sexagesimal": "%YAML 1.1\n---\n190:20:30",
    "anchor-twice": "[&side 192, &side 160]",
    "block-as-key": "{[a, b]: c, {d: e}: f}",
    "separators-of-other-scripts": "name: a\u2028b\nname: c",
    "two-documents": "a: b\n---\nc: d",
    "only-a-directive": "%YAML 1.2",
}


@pytest.mark.parametrize("text", expecting(_NASTY, {}))
def test_nasty_text_is_a_document_or_a_message(text: str) -> None:
    """The same for texts that random generation would not find."""
    _parse(text)


_RECIPE: dict[str, Value] = {
    "name": "any",
    "source": {
        "family": "ultralytics",
        "task": "pose",
        "architecture": "yolov8n-pose",
        "weights": {"path": "weights/tags.pt", "sha256": TAGS_SHA256},
        "decoder": "none",
        "classes": ["tag"],
    },
    "dataset": {"format": "ultralytics", "path": "data/tags/data.yaml"},
    "input": {"size": 192, "color": "rgb", "resize": "letterbox"},
    "train": {"epochs": 4, "size": 192, "learning_rate": 0.001, "quantization_aware": "no"},
    "export": {"opset": 13, "head": "raw"},
    "convert": {"tool": "onnx2tf"},
    "quantization": {
        "scheme": "int8",
        "granularity": "per-tensor",
        "io": "int8",
        "calibration": {"split": "train", "count": 4},
    },
    "evaluate": {"split": "val", "gates": {"box.mAP50-95": {"max_drop": 0.01}}},
    "targets": [
        {"target": "grove-vision-ai-v2", "as": "board", "vela": {"memory_mode": "any"}},
        {"target": "xiao-esp32s3", "input": {"size": 96}, "firmware": "unchecked"},
    ],
}


def _paths(value: Value, path: KeyPath = ()) -> list[KeyPath]:
    """Every path below the root."""
    items: list[tuple[str | int, Value]] = []
    if isinstance(value, dict):
        items = list(value.items())
    elif isinstance(value, list):
        items = list(enumerate(value))
    found: list[KeyPath] = [path] if path else []
    for key, item in items:
        found += _paths(item, (*path, key))
    return found


_SCALARS: list[Value] = [
    None,
    True,
    0,
    -1,
    64,
    1.5,
    1e400,
    "",
    "none",
    "random",
    "../..",
    "a\nb",
    "9" * 300,
]
_BLOCKS: list[Value] = [[], {}, [None], [64, 96], [[64]], {"size": 64}, {"path": None}]
_JUNK = st.sampled_from([*_SCALARS, *_BLOCKS])


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One workspace for all examples of a property."""
    return make_workspace(tmp_path_factory.mktemp("nonsense") / "workspace")


@given(path=st.sampled_from(_paths(_RECIPE)), junk=_JUNK)
@settings(STEADY, max_examples=repetitions(40))
def test_any_value_anywhere_is_planned_or_reported(place: Path, path: KeyPath, junk: Value) -> None:
    """Any value at any path is planned, or reported with a position."""
    text = json.dumps(replaced(_RECIPE, path, junk), indent=1)
    (place / "recipes" / "any.yaml").write_text(text, encoding="utf-8")
    plans = plan_all(place)
    assert plans.plans or plans.errors
    assert all(error.line for error in plans.errors)
