"""Makes pickles that are nearly a checkpoint's, and runs those in which the reader lists no code.

Each is put together operation by operation, so that pickle's machine follows it. Where
`pickled_code.find_calls` lists nothing, Python's unpicklers, in Python and in C, load it with
stand-ins for what it names; these note what a checkpoint must not do: a class that is called, an
object that is called, a method of an object, `getattr` of anything else, a foreign name.

    python benchmarks/fuzz_pickles.py [--count 20000] [--seed 0]
"""

import argparse
import copy
import io
import pickle
import pickletools
import random
import sys
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(REPOSITORY))

from buildsys.steps.lib.families.pickled_code import _Machine, find_calls, known  # noqa: E402
from buildsys.steps.lib.families.torch_file import Operations  # noqa: E402

CLASSES = (
    "ultralytics.nn.modules.conv Conv",
    "ultralytics.nn.tasks DetectionModel",
    "torch.nn.modules.container Sequential",
)
CALLS = (
    "collections OrderedDict",
    "__builtin__ set",
    "torch Size",
    "numpy dtype",
    "_codecs encode",
    "ultralytics.utils IterableSimpleNamespace",
)
VALUES = ("torch FloatStorage", "torch float16")
GETTER, ENUM = "__builtin__ getattr", "torchvision.transforms.functional InterpolationMode"
FOREIGN = ("os system", "builtins eval", "torch.hub load")
TEXTS = ("forward", "x", "BILINEAR", "__setstate__", "append", "os", "system", "__class__")
OPERATIONS = (
    *(b")", b"]", b"}", b"\x8f", b"(", b"N", b"K\x01", b"R", b"R", b"\x81", b"\x81", b"\x92"),
    *(b"b", b"b", b"a", b"e", b"s", b"u", b"\x90", b"t", b"\x85", b"\x85", b"\x86", b"\x86"),
    *(b"\x87", b"l", b"d", b"\x91", b"0", b"1", b"2", b"\x93", b"\x94", b"o", b"Q", b"}b}b"),
    *(b"ios\nsystem\n", b"iultralytics.nn.modules.conv\nConv\n", b"\x82\x01"),
)
_LONGEST, _TRIES, _BAD_SHARE = 22, 80, 0.03

noted: list[str] = []
"""What the pickle that is loaded now did."""


class Thing:
    """An object of a known class, or what a known function gave."""

    def __init__(self, *_: object) -> None:
        noted.append(f"{type(self).__name__} is called")

    def __call__(self, *_: object) -> None:
        noted.append("an object is called")

    def _note(self, *_: object) -> None:
        noted.append("a method is called")

    append = extend = add = __setitem__ = forward = _note


class Mapping(Thing):
    """What OrderedDict gave: it takes items."""

    def __setitem__(self, *_: object) -> None:
        """As a dictionary does."""


class Unpickler(pickle._Unpickler):
    """Python's own, with stand-ins."""

    def find_class(self, module: str, name: str) -> object:
        """A stand-in; its use is noted."""
        return find(f"{module} {name}".replace("builtins ", "__builtin__ "))

    def persistent_load(self, _: object) -> object:
        """A storage."""
        return object()


class FastUnpickler(pickle.Unpickler):
    """The one in C."""

    find_class, persistent_load = Unpickler.find_class, Unpickler.persistent_load


def find(name: str) -> object:
    """What stands for a name."""
    if name in CLASSES:
        return type(name, (Thing,), {})
    if name in CALLS:
        kind: type[Thing] = Mapping if "OrderedDict" in name else Thing
        return lambda *_: kind.__new__(kind)
    if name in VALUES:
        return lambda *_: noted.append(f"{name} is called")
    if name == ENUM:
        return type(name, (Thing,), {"__init__": lambda *_: None, "BILINEAR": 1})
    if name == GETTER:
        return _getattr
    noted.append(f"{name} is named")
    return lambda *_: None


def _getattr(owner: object, name: str, *_: object) -> int:
    kind = owner if isinstance(owner, type) else type(owner)
    method = name in ("forward", "forward_fuse") and kind.__name__ in CLASSES
    if not method and not (kind.__name__ == ENUM and name.isupper()):
        noted.append(f"getattr of {name}")
    return 0


def make(chance: random.Random) -> bytes | None:
    """A pickle that its machine follows to the end."""
    machine, body, left = _Machine(known(objects=True)), b"", chance.randrange(3, _LONGEST)
    for _ in range(_TRIES):
        piece = _piece(chance)
        following = copy.deepcopy(machine, {id(machine.names): machine.names})
        try:
            for name, argument in _read(piece + b".")[:-1]:
                following.step(name, argument)
        except (IndexError, KeyError, ValueError):
            continue
        if following.found and chance.random() > _BAD_SHARE:
            continue
        machine, body, left = following, body + piece, left - 1
        if not left:
            break
    ends = machine.stack and machine.marks[-1:] != [len(machine.stack)]
    return b"\x80\x04" + body + b"." if ends else None


def _piece(chance: random.Random) -> bytes:
    kind = chance.random()
    if kind < 0.4:
        listed = chance.choices((CLASSES, CALLS, VALUES, (GETTER, ENUM), FOREIGN), (8, 6, 2, 2, 1))
        name = b"c%b\n" % chance.choice(listed[0]).replace(" ", "\n").encode()
        return name + chance.choice((b"", b"", b")\x81", b")R"))
    if kind < 0.5:
        text = chance.choice(TEXTS).encode()
        return b"X" + len(text).to_bytes(4, "little") + text
    if kind < 0.6:
        return chance.choice((b"q", b"h")) + bytes([chance.randrange(4)])
    return chance.choice(OPERATIONS)


def _read(data: bytes) -> Operations:
    return [(each.name, argument) for each, argument, _ in pickletools.genops(data)]


def main() -> int:
    """How many were made, listed, loaded; 1 where one did what was not listed."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--count", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    chance = random.Random(options.seed)
    counts = {"made": 0, "listed": 0, "loaded to the end": 0}
    for _ in range(options.count):
        data = make(chance)
        if data is None:
            continue
        counts["made"] += 1
        if find_calls(_read(data), known(objects=True)):
            counts["listed"] += 1
            continue
        for unpickler in (Unpickler, FastUnpickler):
            noted.clear()
            counts["loaded to the end"] += _loads(unpickler, data)
            if noted:
                print(f"missed: {noted} in {_read(data)}")
                return 1
    print(", ".join(f"{count} {what}" for what, count in counts.items()), "(by two unpicklers)")
    return 0


def _loads(unpickler: Any, data: bytes) -> bool:
    try:
        unpickler(io.BytesIO(data)).load()
    except Exception:  # noqa: BLE001 - what it did before counts
        return False
    return True


if __name__ == "__main__":
    sys.exit(main())
