"""What a dodo.py of an early release imports its tasks from: it is told what to do, by doit itself."""

from doit.exceptions import InvalidDodoFile

raise InvalidDodoFile(
    "dodo.py imports buildsys.engine of another release of buildsys: delete dodo.py and run"
    " `buildsys init`, which writes dodo.py and doit.cfg of this one."
)
