"""Python's own parser, for one thread at a time."""

import ast
import threading

_PARSING = threading.Lock()


def parse_source(text: str) -> ast.Module:
    """The syntax tree of a file. Raises SyntaxError.

    The parser counts how deep it is in one place of the process (up to Python 3.12): where the collection
    of garbage runs Python code, as with dask's, two threads in it end in SystemError.
    """
    with _PARSING:
        return ast.parse(text)
