"""torch without torchvision, for steps that only run a network: importing it takes as long as torch."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType


@contextmanager
def without_torchvision() -> Iterator[None]:
    """Within it, what sets torchvision up finds an empty one. What imports it later, as a checkpoint
    that names its transforms does, gets the real one, without `nms`.
    """
    package, extension = ModuleType("torchvision"), ModuleType("torchvision.extension")
    vars(package)["extension"] = extension
    stand_ins = {module.__name__: module for module in (package, extension)}
    if stand_ins.keys() & sys.modules.keys():  # it is here already
        yield
        return
    sys.modules.update(stand_ins)
    try:
        yield
    finally:
        for name in stand_ins:
            del sys.modules[name]
