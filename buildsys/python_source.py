"""Calls Python's own parser from one thread at a time."""

import ast
import threading

_PARSING = threading.Lock()


def parse_source(text: str) -> ast.Module:
    """Return the syntax tree of a file. Raises SyntaxError.

    Up to Python 3.12 the parser keeps its depth in one place of the process: where garbage
    collection runs Python code, as with dask's, two threads in the parser end in SystemError.
    """
    with _PARSING:
        return ast.parse(text)
