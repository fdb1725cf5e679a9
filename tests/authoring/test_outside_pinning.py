"""A digest is written into a recipe, and nothing else in the file changes."""

import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from buildsys.authoring.recipes.pinning import UnwritableError, pinnables, write_digest
from buildsys.authoring.syntax.document import parse_document
from tests.authoring.spellings import STEADY, KeyPath, Value, documents, replaced

DIGEST = "0f62de6c7aed069bb4b1bce691b1633f2a1ad512289bf5996a3d02fb134c8633"
OTHER = "1" * 64
AT: KeyPath = ("source", "weights")
_NAMES = st.sampled_from(
    ["weights/a.pt", "a b.pt", "säge.pt", "x: y.pt", "true", "7", "#1.pt", "a,b"]
)
_RECIPES = st.builds(
    lambda name, key, epochs: {
        "name": "tags",
        "source": {"family": "ultralytics", "weights": {key: name}, "classes": ["a", "b"]},
        "train": {"epochs": epochs, "learning_rate": 0.002},
        "matrix": {"task": {"pose": {"source": {"task": "pose"}}}},
        "targets": ["host", {"target": "host", "as": "other"}],
    },
    _NAMES,
    st.sampled_from(["path", "url"]),
    st.integers(1, 9),
)
_BREAKS = st.sampled_from(["\n", "\r\n", "\r"])


def _parse(text: str) -> Any:
    return parse_document(text, "recipe").data


def _spell(data: st.DataObject, recipe: dict[str, Any]) -> str:
    text = data.draw(documents(recipe)).replace("\n", data.draw(_BREAKS))
    return text.rstrip("\r\n") if data.draw(st.booleans()) else text


def _changed(before: str, after: str) -> tuple[str, str]:
    """The removed and the inserted text; the rest is equal."""
    start = next(
        (i for i, (a, b) in enumerate(zip(before, after, strict=False)) if a != b),
        min(len(before), len(after)),
    )
    end = 0
    while end < min(len(before), len(after)) - start and before[-1 - end] == after[-1 - end]:
        end += 1
    return before[start : len(before) - end], after[start : len(after) - end]


@STEADY
@given(st.data(), _RECIPES)
def test_a_missing_digest_is_put_in_and_the_rest_is_kept(
    data: st.DataObject, recipe: dict[str, Value]
) -> None:
    """A missing digest is inserted, and comments, quotes and line ends are kept."""
    text = _spell(data, recipe)
    result = write_digest(text, AT, DIGEST)
    assert _parse(result) == replaced(recipe, (*AT, "sha256"), DIGEST)
    taken, put = _changed(text, result)
    assert taken == ""
    left = put.replace(DIGEST, "", 1).replace("sha256", "", 1)
    assert not left.strip(' \r\n,:"'), "more than a key and its digest was put in"
    assert write_digest(result, AT, DIGEST) == result


@STEADY
@given(st.data(), _RECIPES, st.sampled_from([OTHER, None, "…", 12]))
def test_a_digest_that_stands_there_is_replaced_in_its_quotes(
    data: st.DataObject, recipe: dict[str, Value], old: Value
) -> None:
    """An existing digest is replaced in its quotes; nothing else changes."""
    text = _spell(data, replaced(recipe, (*AT, "sha256"), old))
    result = write_digest(text, AT, DIGEST)
    assert _parse(result) == replaced(recipe, (*AT, "sha256"), DIGEST)
    taken, put = _changed(text, result)
    assert len(taken) <= 64
    assert put in DIGEST


_ODD = {
    "block, comment behind": (
        "source:\n  weights:\n    path: a.pt   # mine\n  task: pose\n",
        "source:\n  weights:\n    path: a.pt   # mine\n    sha256: D\n  task: pose\n",
    ),
    "flow, trailing comma": (
        "source: {weights: {path: a.pt , }}\n",
        "source: {weights: {path: a.pt, sha256: D , }}\n",
    ),
    "flow over lines with comments": (
        "source: {weights: {  # start\n  path: a.pt  # it\n}}\n",
        "source: {weights: {  # start\n  path: a.pt, sha256: D  # it\n}}\n",
    ),
    "JSON": (
        '{"source": {"weights": {"path": "a.pt"}}}',
        '{"source": {"weights": {"path": "a.pt", "sha256": "D"}}}',
    ),
    "no line end": (
        "source:\n  weights:\n    path: a.pt",
        "source:\n  weights:\n    path: a.pt\n    sha256: D",
    ),
    "CR LF in one line only": (
        "source:\n  weights:\n    path: a.pt\r\n  task: pose\n",
        "source:\n  weights:\n    path: a.pt\r\n    sha256: D\r\n  task: pose\n",
    ),
    "empty value, comment behind": (
        "source:\n  weights:\n    path: a.pt\n    sha256:   # later\n",
        "source:\n  weights:\n    path: a.pt\n    sha256: D   # later\n",
    ),
    "empty value in flow": (
        "source: {weights: {path: a.pt, sha256: }}\n",
        "source: {weights: {path: a.pt, sha256: D }}\n",
    ),
    "key alone in flow": (
        "source: {weights: {path: a.pt, sha256}}\n",
        "source: {weights: {path: a.pt, sha256: D}}\n",
    ),
    "tilde": (
        "source: {weights: {path: a.pt, sha256: ~}}\n",
        "source: {weights: {path: a.pt, sha256: D}}\n",
    ),
    "empty quotes": (
        "source: {weights: {path: a.pt, sha256: ''}}\n",
        "source: {weights: {path: a.pt, sha256: 'D'}}\n",
    ),
    "folded path": (
        "source:\n  weights:\n    path: >-\n      a.pt\n\n  task: pose\n",
        "source:\n  weights:\n    sha256: D\n    path: >-\n      a.pt\n\n  task: pose\n",
    ),
    "path on its own line": (
        "source:\n  weights:\n    path:\n      a.pt # mine\n",
        "source:\n  weights:\n    path:\n      a.pt # mine\n    sha256: D\n",
    ),
    "anchored path and digest": (
        "source:\n  weights:\n    path: &p a.pt\n    sha256: &d '0'\n",
        "source:\n  weights:\n    path: &p a.pt\n    sha256: &d 'D'\n",
    ),
    "path is an alias, block": (
        "file: &p a.pt\nsource:\n  weights:\n    path: *p\n",
        "file: &p a.pt\nsource:\n  weights:\n    sha256: D\n    path: *p\n",
    ),
    "path is an alias, flow": (
        "file: &p a.pt\nsource: {weights: {path: *p }}\n",
        "file: &p a.pt\nsource: {weights: {sha256: D, path: *p }}\n",
    ),
    "the block is an alias": (
        "start: &w {path: a.pt}\nsource: {weights: *w}\nmatrix: {a: {b: {source: {weights: *w}}}}\n",
        "start: &w {path: a.pt, sha256: D}\nsource: {weights: *w}\n"
        "matrix: {a: {b: {source: {weights: *w}}}}\n",
    ),
    "not a character beyond ASCII is lost": (
        "# — ü 🎯\nsource: {weights: {path: 🎯.pt}} # 🎯\n",
        "# — ü 🎯\nsource: {weights: {path: 🎯.pt, sha256: D}} # 🎯\n",
    ),
}


@pytest.mark.parametrize("texts", _ODD.values(), ids=_ODD)
def test_odd_spelling_keeps_its_style(texts: tuple[str, str]) -> None:
    """Unusual YAML keeps its style."""
    assert write_digest(texts[0], AT, DIGEST) == texts[1].replace("D", DIGEST)


@pytest.mark.parametrize(
    "text",
    [
        "source:\n  weights:\n    ? path\n    : a.pt\n",
        "digest: &d '0'\nsource:\n  weights:\n    path: a.pt\n    sha256: *d\n",
        "source:\n  weights:\n    path: a.pt\n    sha256: |-\n      0\n",
    ],
    ids=["question mark", "digest is an alias", "digest is a block"],
)
def test_what_cannot_be_edited_is_refused(text: str) -> None:
    """A text that cannot be edited safely is rejected."""
    try:
        result = write_digest(text, AT, DIGEST)
    except UnwritableError:
        return
    wanted = copy.deepcopy(_parse(text))
    wanted["source"]["weights"]["sha256"] = DIGEST
    assert _parse(result) == wanted


def test_what_is_pinned() -> None:
    """All blocks that name a file are pinned, including those in matrix patches, and no others."""
    text = """\
source: {weights: random}
dataset: {url: https://example.org/a.zip}
matrix:
  start:
    a: {source: {weights: {path: a.pt}}, dataset: {path: data/a.yaml}}
    b: {source: {weights: {url: "https://example.org/b.pt", sha256: null}}}
weights: {path: no.pt}
"""
    found = [(item.named, item.at[:1]) for item in pinnables(_parse(text))]
    assert found == [
        ("https://example.org/a.zip", ("dataset",)),
        ("a.pt", ("matrix",)),
        ("https://example.org/b.pt", ("matrix",)),
    ]
