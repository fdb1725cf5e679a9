"""The module that a dodo.py of an early release imports; doit prints what to write instead."""

from doit.exceptions import InvalidDodoFile

raise InvalidDodoFile(
    "dodo.py belongs to another release of buildsys: delete dodo.py and run"
    " `buildsys init`, which writes dodo.py and doit.cfg of this release."
)
