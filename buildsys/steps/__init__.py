"""Step modules: one converter, compiler, generator or measurement per file.

A module here has a core side (``Settings``, ``Params``, ``plan``), importable with the standard
library alone, and a tool side (``run``), which imports its tools inside the function and is only
ever executed by the interpreter of its tool environment.
"""
