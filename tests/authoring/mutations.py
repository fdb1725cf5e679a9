"""Nearly correct files: variants of a good file after a typo, a bad merge or malice."""

import copy
import json
import random
import re
from typing import Any

from buildsys.authoring.syntax.document import parse_document

PIECES = (
    "a",
    "name",
    "1",
    "0x",
    "0o_",
    "1e",
    ".inf",
    "-.nan",
    "null",
    "yes",
    "~",
    "<<",
    "=",
    "2001-01-01",
    ": ",
    ":",
    "- ",
    "-",
    ", ",
    "{",
    "}",
    "[",
    "]",
    "? ",
    "|\n",
    ">-\n",
    "\n",
    "\n  ",
    "\t",
    " ",
    "&x ",
    "*x",
    "!!int ",
    "!!float ",
    "!!bool ",
    "!!set ",
    "!own ",
    "!!",
    "'",
    '"',
    "# ",
    "---\n",
    "...\n",
    "%YAML 1.1\n---\n",
    "%TAG ! !\n",
    "\ufeff",
    "\u2028",
    "\x85",
    "\x00",
    "\x0c",
    "é",
    "𝒳",
    "\r",
    "\r\n",
    "\\",
    '"\\ud800"',
    '"\\0"',
    "\u202e",
    "..",
    "../",
    "/",
    "~/",
    "*",
    "**",
    "@",
    "`",
    "9" * 40,
    "9" * 5000,
    "1e999",
    "x" * 300,
    "[" * 40,
    "{a: " * 35,
    "0" * 64,
    "random",
    "none",
)
_SCALARS: tuple[Any, ...] = (
    None,
    True,
    False,
    0,
    1,
    -1,
    31,
    32,
    64,
    192,
    2**31,
    2**63,
    10**30,
    0.5,
    1.5,
    -0.0,
    1e308,
    1e-320,
    "",
    " ",
    "none",
    "random",
    "null",
    "..",
    "../..",
    "/etc",
    "~",
    "a\nb",
    "\ud800",
    "\0",
    "a" * 500,
    "host",
    "int8",
    "float16",
    "per-tensor",
    "detect",
    "pose",
    "train",
    "val",
    "yolov8n",
    "4.5",
    "é",
    "box.mAP50-95",
    "box.mAP50-95.tag",
    "data/**/*.jpg",
    "*",
    "[",
    "weights/tags.pt",
    "@",
    "a=b",
)
_BLOCKS: tuple[Any, ...] = (
    [],
    {},
    [None],
    [[]],
    [{}],
    {"": None},
    [64, 96],
    [64, 96, 128],
    [[64]],
    {"size": 64},
    {"path": None},
    {"min": 2},
    ["host", "host"],
    {"target": "host"},
    [{"target": "host", "as": "x"}],
    {"0": "tag"},
    ["a"] * 400,
    {f"k{n}": n for n in range(60)},
)


class Mutator:
    """Makes variants of given texts; the same random state makes the same variant."""

    def __init__(self, texts: list[str]) -> None:
        self.texts = texts
        self.data = [parse_document(text, "seed").data for text in texts]
        self.words = sorted({word for text in texts for word in re.findall(r"[\w.-]+", text)})

    def variant(self, rng: random.Random) -> bytes:
        """One of the texts with one to five changes of its values, tokens or bytes."""
        index = rng.randrange(len(self.texts))
        slips = min(5, 1 + int(rng.expovariate(0.8)))
        kind = rng.random()
        if kind < 0.5:
            return self._structure(self.data[index], rng, slips)
        if kind < 0.85:
            return self._tokens(self.texts[index], rng, slips)
        return _bytes(self.texts[index].encode(), rng, slips)

    def _structure(self, data: Any, rng: random.Random, slips: int) -> bytes:
        root = [copy.deepcopy(data)]
        for _ in range(slips):
            parent, key = rng.choice(_places(root))
            self._change(root, parent, key, rng)
        return _dump(root[0], rng).encode("utf-8", "surrogatepass")

    def _change(self, root: Any, parent: Any, key: Any, rng: random.Random) -> None:
        value, action = parent[key], rng.randrange(7)
        if action == 0:
            del parent[key]
            root[:] = root or [None]
        elif action == 1:
            parent[key] = copy.deepcopy(rng.choice(_SCALARS + _BLOCKS))
        elif action == 2:
            other, place = rng.choice(_places(root))
            parent[key], other[place] = copy.deepcopy(other[place]), copy.deepcopy(value)
        elif action == 3:
            parent[key] = rng.choice([[value], {"a": value}, str(value), [value, value]])
        elif action == 4 and isinstance(parent, dict):
            parent[_slip(str(key), rng)] = parent.pop(key)
        elif action == 5 and isinstance(value, dict):
            value[rng.choice(self.words)] = copy.deepcopy(rng.choice(_SCALARS + _BLOCKS))
        elif isinstance(value, list):
            value.insert(rng.randint(0, len(value)), rng.choice(self.words))
        elif isinstance(value, str):
            parent[key] = _slip(value, rng)
        else:
            parent[key] = rng.choice(self.words)

    def _tokens(self, text: str, rng: random.Random, slips: int) -> bytes:
        tokens = re.findall(r"[\w./-]+|\s+|.", text)
        for _ in range(slips):
            at, other = rng.randrange(len(tokens)), rng.randrange(len(tokens))
            action = rng.randrange(5)
            if action == 0:
                tokens[at] = ""
            elif action == 1:
                tokens.insert(at, rng.choice(PIECES))
            elif action == 2:
                tokens[at], tokens[other] = tokens[other], tokens[at]
            elif action == 3:
                tokens[at:at] = tokens[other : other + rng.randint(1, 12)]
            else:
                tokens[at] = rng.choice((*PIECES, *self.words))
        return "".join(tokens).encode("utf-8", "surrogatepass")


def _bytes(data: bytes, rng: random.Random, slips: int) -> bytes:
    changed = bytearray(data)
    for _ in range(slips):
        at = rng.randrange(len(changed) + 1)
        action = rng.randrange(4)
        if action == 0:
            changed[at : at + 1] = bytes([rng.randrange(256)])
        elif action == 1:
            del changed[at : at + rng.randint(1, 30)]
        elif action == 2:
            changed[at:at] = changed[at : at + rng.randint(1, 60)]
        else:
            del changed[at:]
    return bytes(changed)


def _places(root: Any) -> list[tuple[Any, Any]]:
    """Every (list or dict, index or key) of a value."""
    found: list[tuple[Any, Any]] = []
    waiting = [root]
    while waiting and len(found) < 2_000:
        block = waiting.pop()
        for key in list(block) if isinstance(block, dict) else range(len(block)):
            found.append((block, key))
            if isinstance(block[key], dict | list):
                waiting.append(block[key])
    return found


def _slip(word: str, rng: random.Random) -> str:
    """A word with an added, removed, changed or swapped letter, or another case."""
    at, letter = (
        rng.randint(0, len(word)),
        rng.choice("abcdefghijklmnopqrstuvwxyz0123456789-_. \u0131"),
    )
    kinds = (
        word[:at] + letter + word[at:],
        word[:at] + word[at + 1 :],
        word[:at] + letter + word[at + 1 :],
        word[: at - 1] + word[at : at + 1] + word[at - 1 : at] + word[at + 1 :],
        word.upper(),
        "",
    )
    return rng.choice(kinds)


def _dump(value: Any, rng: random.Random) -> str:
    """The value as JSON, which is valid YAML, on one or many lines; sometimes with a repeated line."""
    text = json.dumps(value, indent=rng.choice([None, 1]), ensure_ascii=rng.random() < 0.5)
    if rng.random() < 0.1:
        lines = text.split("\n")
        lines.insert(rng.randrange(len(lines)), rng.choice(lines))
        text = "\n".join(lines)
    return text
