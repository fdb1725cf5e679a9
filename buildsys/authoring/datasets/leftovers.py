"""Files that operating systems leave among data: hidden ones, and those beside them.

macOS writes `._a.xml` beside `a.xml` on foreign file systems, `.DS_Store`, and a folder `__MACOSX`
into archives; the input of a step has no hidden files.
"""

from pathlib import PurePath

from buildsys.names import is_junk
from buildsys.steps.lib.files.hidden_files import is_hidden


def is_visible(name: str) -> bool:
    """Return whether a file or folder of this name is a person's own."""
    return not is_hidden(name) and not is_junk(name)


def is_own(path: PurePath) -> bool:
    """Return whether every part of a relative path is a person's own."""
    return all(map(is_visible, path.parts))
