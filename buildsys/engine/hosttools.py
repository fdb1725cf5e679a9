"""Programs of the host that some steps cannot do without: found, never installed."""

import shutil
from functools import cache


@cache
def find_program(name: str) -> str:
    """Its path, or nothing where it is not installed; looked for once a run."""
    return shutil.which(name) or ""
