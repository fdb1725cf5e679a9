"""Writes digests into a recipe's text by editing at the nodes' positions, never by dumping.

Comments, quotes, order and line endings stay unchanged byte for byte, because only the digest is
edited.
"""

import copy
import dataclasses
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass

from buildsys.authoring.syntax.document import KeyPath, Node, parse_document, value_at
from buildsys.authoring.syntax.scope import merge
from buildsys.errors import InputError

_NAMES = ("path", "url")
_BREAK = re.compile("\r\n|[\n\r\x85]")
_PROPERTIES = re.compile(r"(?:[&!]\S*\s+)*")
"""Anchor and tag before a value; they belong to its node."""


@dataclass(frozen=True, kw_only=True)
class Pinnable:
    """A block that names a file: its place, the file, its digest.

    `family`: of the source whose weights it names, "" if unknown; `trusted`: whether that source
    may run code.
    """

    at: KeyPath
    path: str | None
    url: str | None
    sha256: object
    family: str = ""
    trusted: bool = False

    @property
    def named(self) -> str:
        """Return the file, as it was written."""
        return self.path or self.url or ""

    @property
    def is_archive(self) -> bool:
        """Return whether the file is a dataset's archive."""
        return self.at[-1:] == ("dataset",)

    @property
    def key(self) -> str:
        """Return the key that names the file."""
        return "path" if self.path else "url"


class UnwritableError(Exception):
    """A notation into which no digest can be inserted without changing anything else."""


def pinnables(data: object) -> tuple[Pinnable, ...]:
    """Return every `weights` block with a file, and every `dataset` with a `url`, in the recipe."""
    return tuple(_walk(data, ()))


def _walk(data: object, at: KeyPath) -> Iterator[Pinnable]:
    if isinstance(data, list):
        for index, item in enumerate(data):
            yield from _walk(item, (*at, index))
    if not isinstance(data, dict):
        return
    path, url = (data.get(key) if isinstance(data.get(key), str) else None for key in _NAMES)
    if at[-2:] == ("source", "weights") and (path or url):
        yield Pinnable(at=at, path=path, url=url, sha256=data.get("sha256"))
    if at[-1:] == ("dataset",) and url:
        yield Pinnable(at=at, path=None, url=url, sha256=data.get("sha256"))
    for key, value in data.items():
        yield from _walk(value, (*at, key))


def merged_pinnables(own: dict[str, object], base: object) -> tuple[tuple[Pinnable, bool], ...]:
    """Return (block, whether the digest belongs in `own`) for a recipe merged with its base.

    The digest belongs where the file is named. A digest that the base gives to another file is
    ignored.
    """
    both = merge(base, {k: v for k, v in own.items() if k != "extends"}) if base else own
    found = []
    for item in pinnables(both):
        block = value_at(own, item.at)
        written = block if isinstance(block, dict) else {}
        mine = item.key in written and "sha256" not in written
        settled = dataclasses.replace(item, sha256=None) if mine else item
        family, trust = (_of_source(both, item.at, name) for name in ("family", "trust"))
        settled = dataclasses.replace(settled, family=family, trusted=trust == "code")
        found.append((settled, mine or "sha256" in written))
    return tuple(found)


def _of_source(data: object, at: KeyPath, name: str) -> str:
    """Return a text of the source around a block, or of the recipe's if a variant omits it."""
    own = value_at(data, (*at[:-1], name))
    found = own if own is not None else value_at(data, ("source", name))
    return found if isinstance(found, str) else ""


def write_digest(text: str, at: KeyPath, digest: str) -> str:
    """Return `text` with `sha256: digest` in the mapping at `at`; every other character is kept.

    An existing digest is replaced. Raises UnwritableError where the notation is so unusual that the
    recipe's meaning would change, and InputError for broken YAML.
    """
    before = parse_document(text, "recipe").data
    root = _compose(text)
    mapping = _find(root, at)
    pairs = {str(key.value): (key, value) for key, value in mapping.value}
    if "sha256" in pairs:
        start, end, new = _replacement(text, *pairs["sha256"], digest)
    else:
        beside = pairs.get("path") or pairs["url"]
        start, end, new = _insertion(text, mapping, *beside, digest)
    result = text[:start] + new + text[end:]
    wanted = copy.deepcopy(before)
    for place in _places(root, mapping, ()):
        block = value_at(wanted, place)
        assert isinstance(block, dict)
        block["sha256"] = digest
    try:
        after = parse_document(result, "recipe").data
    except InputError as error:
        raise UnwritableError(str(error)) from error
    if json.dumps(after, sort_keys=True) != json.dumps(wanted, sort_keys=True):
        raise UnwritableError("the recipe would have another meaning")
    return result


def _compose(text: str) -> Node:
    from ruamel.yaml import YAML

    root: Node = YAML(typ="safe", pure=True).compose(text)
    return root


def _find(node: Node, at: KeyPath) -> Node:
    """Return the node at an existing path."""
    for part in at:
        node = node.value[part] if isinstance(part, int) else _child(node, part)
    return node


def _child(node: Node, name: str) -> Node:
    pairs: list[tuple[Node, Node]] = node.value
    return next(value for key, value in pairs if str(key.value) == name)


def _places(node: Node, wanted: Node, at: KeyPath) -> Iterator[KeyPath]:
    """Yield every path to a node: an anchored block appears at each of its aliases."""
    if node is wanted:
        yield at
    elif node.id == "mapping":
        for key, value in node.value:
            yield from _places(value, wanted, (*at, str(key.value)))
    elif node.id == "sequence":
        for index, value in enumerate(node.value):
            yield from _places(value, wanted, (*at, index))


def _replacement(text: str, key: Node, value: Node, digest: str) -> tuple[int, int, str]:
    """Return (start, end, new text) for an existing or an empty value of the key."""
    start, end = value.start_mark.index, value.end_mark.index
    if start < key.end_mark.index:
        raise UnwritableError("the digest is an alias of something above")
    if value.style in ("|", ">"):
        raise UnwritableError("the digest is a block of lines")
    if start == end:
        colon = re.compile(r"[ \t]*:").match(text, key.end_mark.index)
        place = colon.end() if colon else key.end_mark.index
        return place, place, f" {digest}" if colon else f": {digest}"
    properties = _PROPERTIES.match(text, start, end)
    start = properties.end() if properties else start
    quote = value.style or ""
    return start, end, f"{quote}{digest}{quote}"


def _insertion(
    text: str, mapping: Node, key: Node, value: Node, digest: str
) -> tuple[int, int, str]:
    """Return (start, end, new text) for a new key: after `value`, or before `key`."""
    new = f'"sha256": "{digest}"' if key.style == '"' else f"sha256: {digest}"
    behind = value.start_mark.index >= key.end_mark.index and value.style not in ("|", ">")
    place = value.end_mark.index if behind else key.start_mark.index
    if mapping.flow_style:
        return place, place, f", {new}" if behind else f"{new}, "
    indent = " " * key.start_mark.column
    end = _BREAK.search(text, place)
    usual = end or _BREAK.search(text)
    line_break = usual.group() if usual else "\n"
    if not behind:
        return place, place, f"{new}{line_break}{indent}"
    if end is None:
        return len(text), len(text), f"{line_break}{indent}{new}"
    return end.end(), end.end(), f"{indent}{new}{line_break}"
