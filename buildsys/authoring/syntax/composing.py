"""ruamel.yaml's pure Python parser, without its repeated lookups for every character.

Scanner, parser and composer find each other by properties of their loader, and look for keys where
none can be. The results and their positions are unchanged.
"""

import re
from functools import cached_property
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.composer import Composer
from ruamel.yaml.error import StreamMark
from ruamel.yaml.parser import Parser
from ruamel.yaml.reader import Reader
from ruamel.yaml.scanner import Scanner
from ruamel.yaml.tokens import ScalarToken

_LETTERS = "[A-Za-z0-9_./-]+"
_KEY = re.compile(rf"{_LETTERS}(?=:[ \n])")
_FLOW_WORD = re.compile(rf"{_LETTERS}(?=:[ \n]|[,\]}}])")
"""Plain scalars that end where these letters do, in a block and between brackets."""
_EMPTY_LINES = re.compile(r"(?: *(?:#[^\n\r\0\x85\u2028\u2029\ufeff]*)?\n)+")
"""The rest of a line, and lines, that are empty or only have comments."""


def compose(text: str, max_depth: int) -> Any:
    """Return the root node of a text; None if it is empty. Raises ruamel.yaml's YAMLError."""
    yaml = YAML(typ="safe", pure=True)
    yaml.Reader, yaml.Scanner = _Reader, _Scanner
    yaml.Parser, yaml.Composer = _Parser, _Composer
    yaml.max_depth = max_depth
    return yaml.compose(text)


class _Reader(Reader):
    def get_mark(self) -> Any:
        return StreamMark(self.name, self.index, self.line, self.column)


class _Scanner(Scanner):
    @cached_property
    def reader(self) -> Any:
        return self.loader.reader

    def check_token(self, *choices: Any) -> bool:
        while self.need_more_tokens():
            self.fetch_more_tokens()
        return bool(self.tokens) and (not choices or isinstance(self.tokens[0], choices))

    def need_more_tokens(self) -> bool:
        if self.tokens and not self.possible_simple_keys:
            return False
        return super().need_more_tokens()

    def stale_possible_simple_keys(self) -> None:
        if self.possible_simple_keys:
            super().stale_possible_simple_keys()

    def scan_to_next_token(self) -> Any:
        reader = self.reader
        found = _EMPTY_LINES.match(reader.buffer, reader.pointer)
        if found is not None:
            reader.pointer += len(found[0])
            reader.index += len(found[0])
            reader.line += found[0].count("\n")
            reader.column = 0
            if not self.flow_context:
                self.allow_simple_key = True
        return super().scan_to_next_token()

    def scan_plain(self) -> Any:
        reader = self.reader
        pattern = _FLOW_WORD if self.flow_context else _KEY
        found = pattern.match(reader.buffer, reader.pointer)
        if found is None:
            return super().scan_plain()
        start, length = reader.get_mark(), len(found[0])
        self.allow_simple_key = False
        reader.pointer += length
        reader.index += length
        reader.column += length
        return ScalarToken(found[0], True, start, reader.get_mark())


class _Parser(Parser):
    @cached_property
    def scanner(self) -> Any:
        return self.loader.scanner

    @cached_property
    def resolver(self) -> Any:
        return self.loader.resolver

    def check_event(self, *choices: Any) -> bool:
        event = self.peek_event()
        return event is not None and (not choices or isinstance(event, choices))


class _Composer(Composer):
    @cached_property
    def parser(self) -> Any:
        return self.loader.parser

    @cached_property
    def resolver(self) -> Any:
        return self.loader.resolver
