"""Use torch without torchvision, in steps that only run a network: importing it takes as long as
torch.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType


@contextmanager
def without_torchvision() -> Iterator[None]:
    """Within the block, code that sets up torchvision finds an empty module. Later imports, for
    example by a checkpoint that uses its transforms, get the real one, without `nms`.
    """
    package, extension = ModuleType("torchvision"), ModuleType("torchvision.extension")
    vars(package)["extension"] = extension
    stand_ins = {module.__name__: module for module in (package, extension)}
    if stand_ins.keys() & sys.modules.keys():  # it is already imported
        yield
        return
    sys.modules.update(stand_ins)
    try:
        yield
    finally:
        for name in stand_ins:
            del sys.modules[name]
