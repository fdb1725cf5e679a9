"""TensorFlow's TFLite converter without TensorFlow's public API, whose import takes longer than a
conversion: it imports all of TensorFlow, and the converter imports what it needs.
"""

import importlib.util
import os
import sys
from types import ModuleType
from typing import Any


def import_lite() -> ModuleType:
    """Return the module `tensorflow.lite.python.lite`, with TensorFlow 2's behaviour.

    `tensorflow` is a package whose own code has not run: that runs when something needs one of its
    attributes.
    """
    if "tensorflow" not in sys.modules:
        sys.modules["tensorflow"] = _package()
        os.environ["TF2_BEHAVIOR"] = "1"
        from tensorflow.python import tf2

        tf2.enable()  # before modules that look at it when they are imported
        from tensorflow.python.compat import v2_compat

        v2_compat.enable_v2_behavior()
    from tensorflow.lite.python import lite

    module: ModuleType = lite
    return module


def _package() -> ModuleType:
    """Return the package, which runs its code at the first attribute that it lacks."""
    spec = importlib.util.find_spec("tensorflow")
    assert spec is not None
    assert spec.loader is not None
    package, loader = importlib.util.module_from_spec(spec), spec.loader

    def run(name: str) -> Any:
        del vars(package)["__getattr__"]
        loader.exec_module(package)
        return getattr(package, name)

    vars(package)["__getattr__"] = run
    return package
