"""Find code that loading a PyTorch file would run, from every name in its pickle and how it is
used.

A pickle is a program: its instructions import names and call them. This module follows the
instructions without importing anything, on a stack of what is known about each value, like pickle's
own virtual machine. Allowed is what checkpoints contain (`pickled_code.json`), by exact names, and
only as checkpoints use it: listed functions are called, classes are created empty and get a state.
Calling a class would run its `__init__`: Ultralytics' `DetectionModel` evaluates text from the
dictionary that it receives. Only the standard library is used, because `buildsys check` reads
weights without torch.
"""

import json
import struct
import sys
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, auto
from functools import cache
from pathlib import Path

from buildsys.steps.lib.families.torch_file import Operations, is_old, read_operations
from buildsys.steps.lib.files.foreign import AGAIN, UnreadableModel

DATA = Path(__file__).with_suffix(".json")
_MOST_MEMBERS = 50_000
"""Maximum number of members of an archive: each tensor is one, and the largest networks have some
thousands.
"""
_METHODS = ("forward", "forward_fuse")
"""Methods that Ultralytics' checkpoints get from their own classes with `getattr`."""
_SHOWN, _LONGEST_NAME = 6, 80
_SAVE = "save it again where you trust it: torch.save(torch.load(…), …)"
_TRUST = (
    "if you trust who made it, write `trust: code` in `source` (`buildsys new --trust code` does):"
    " it runs in isolated steps"
)


class _Kind(Enum):
    """What is known about a value without a name."""

    DATA = auto()
    LIST = auto()
    DICT = auto()
    SET = auto()


@dataclass(frozen=True, kw_only=True)
class Names:
    """Allowed names, each `module name`: to be called, created empty, or used as a value."""

    calls: frozenset[str]
    classes: frozenset[str]
    values: frozenset[str]
    mappings: frozenset[str]
    """Calls whose result accepts items, like a dictionary."""
    enums: frozenset[str]
    """Calls whose members are read with `getattr`."""
    getters: frozenset[str]
    """`getattr` itself: allowed only for methods of known classes."""

    def has(self, name: str) -> bool:
        """Return whether a name is allowed in any use."""
        known = (self.calls, self.classes, self.values, self.enums, self.getters)
        return any(name in names for names in known)


@cache
def known(objects: bool) -> Names:
    """Return what a checkpoint may contain: tensors, numbers and texts; with `objects` also
    networks.
    """
    data: dict[str, dict[str, list[str]]] = json.loads(DATA.read_bytes())

    def listed(key: str) -> frozenset[str]:
        return frozenset(
            f"{module} {name}" for module, names in data[key].items() for name in names
        )

    empty: frozenset[str] = frozenset()
    return Names(
        calls=listed("calls") | (listed("network_calls") if objects else empty),
        classes=listed("classes") if objects else empty,
        values=listed("values"),
        mappings=listed("mappings"),
        enums=listed("enums") if objects else empty,
        getters=listed("getters") if objects else empty,
    )


@dataclass(frozen=True)
class _Name:
    text: str
    """`module name`."""

    @property
    def shown(self) -> str:
        """Return the name in Python's notation; the old name of a module means the same module."""
        return self.text.replace(" ", ".").replace("__builtin__.", "builtins.", 1)


@dataclass
class _Made:
    """An object of a known class, or the result of a known function."""

    name: _Name
    built: bool = False


@dataclass(frozen=True)
class _Pair:
    """Arguments of `getattr`: (an object or its class, the name of a method)."""

    owner: _Name | _Made
    method: str


_Value = _Kind | _Name | _Made | _Pair | str


@dataclass(frozen=True, kw_only=True)
class Code:
    """What loading a file would run that is not allowed: names, and uses of allowed names.
    `missing`: the names that cannot be loaded even if the file is trusted, because the tool
    environment does not have their modules.
    """

    listed: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()


NO_CODE = Code()


@cache
def _modules() -> frozenset[str]:
    """Return the modules that can be imported where checkpoints are loaded, including their Python
    2 names.
    """
    from _compat_pickle import IMPORT_MAPPING

    listed: list[str] = json.loads(DATA.read_bytes())["modules"]
    return frozenset({*listed, *IMPORT_MAPPING, *sys.stdlib_module_names, "buildsys"})


def _is_missing(text: str) -> bool:
    """Return whether the module of a name (`module name`) cannot be imported. A step's `__main__`
    has none of the names of the script that saved the file.
    """
    return text.partition(" ")[0].partition(".")[0] not in _modules()


def find_code(path: Path, *, objects: bool) -> Code:
    """Return what a checkpoint's pickle would run; `objects`: see `known`. Raises UnreadableModel
    if the file cannot be analysed, and OSError.
    """
    save = f"{_SAVE}; or, {_TRUST}" if objects else _SAVE
    if is_old(path):
        what = "it was written by torch before 1.6: what it runs when it is loaded cannot be listed"
        raise UnreadableModel(what, save)
    _check_archive(path, save)
    operations = read_operations(path)
    if operations is None:
        raise UnreadableModel("its pickle is damaged or cut off", AGAIN)
    if not operations or operations[-1][0] != "STOP":
        raise UnreadableModel("its pickle has no end, or is larger than that of any network")
    found = find_calls(operations, known(objects))
    return found if objects else Code(listed=found.listed)  # a file of tensors only imports nothing


def find_untrusted(path: Path, *, objects: bool, trusted: bool) -> Code:
    """Return the reasons to reject a file; for a `trusted` one only missing modules. Raises
    UnreadableModel if an untrusted file cannot be analysed, and OSError.
    """
    try:
        found = find_code(path, objects=objects)
    except UnreadableModel:
        if trusted:
            return NO_CODE
        raise
    return NO_CODE if trusted and not found.missing else found


def describe_code(code: Code) -> str:
    """Return the sentence about a file in which `find_code` finds something, without its subject."""
    if code.missing:
        what = "uses names of modules that the tool environment does not have"
        return f"{what}: {_enumerate(code.missing)}"
    return f"runs code when it is loaded, beyond what checkpoints hold: {_enumerate(code.listed)}"


def _enumerate(names: tuple[str, ...]) -> str:
    listed = ", ".join(each[:_LONGEST_NAME] for each in names[:_SHOWN])
    return f"{listed}, … ({len(names)} in all)" if len(names) > _SHOWN else listed


def code_hint(code: Code, objects: bool) -> str:
    """Return what to do about it; `objects`: see `known`."""
    if not objects:
        return "a checkpoint of this family holds tensors alone: save the network's state_dict()"
    if code.missing:
        return (
            "it cannot be loaded there, not even with `trust: code`: save the weights without these"
            " names, or export the network to ONNX (`family: onnx`), where the modules are installed"
        )
    return _TRUST


def _check_archive(path: Path, save: str) -> None:
    """Check that there is one pickle, which torch and `zipfile` both find; raises UnreadableModel."""
    try:
        with zipfile.ZipFile(path) as archive:
            infos = archive.infolist()
    except (OSError, ValueError, NotImplementedError, zipfile.BadZipFile) as error:
        raise UnreadableModel("the file is damaged or cut off", AGAIN) from error
    folder = infos[0].filename.partition("/")[0] if infos else ""
    names = [info.filename for info in infos]
    odd = (
        not _is_plain(path)
        or len(names) > _MOST_MEMBERS
        or len({name.lower() for name in names}) < len(names)
        or any(info.filename != info.orig_filename for info in infos)
        or any(
            info.extra for info in infos if info.filename.endswith(".pkl")
        )  # other positions, other sizes
        or not all(name.startswith(f"{folder}/") for name in names)
    )
    if odd:
        what = "this is not an archive as torch.save writes it: programs could find different files in it"
        raise UnreadableModel(what, save)
    pickles = [name for name in names if name.lower().endswith(".pkl")]
    if any(name.lower().endswith(("/constants.pkl", ".py")) for name in names):
        what = "this is a TorchScript archive: a program, not a checkpoint"
        raise UnreadableModel(what, "give the .pt that the training wrote, or an ONNX file")
    if pickles != [f"{folder}/data.pkl"]:
        listed = ", ".join(pickles[:3]) or "none"
        raise UnreadableModel(f"a checkpoint has one pickle, data.pkl; this has {listed}", save)


def _is_plain(path: Path) -> bool:
    """Return whether the archive is the whole file, with no data before it or after its directory."""
    end, locator, record = 22, 20, 56
    with path.open("rb") as stream:
        start = stream.read(4)
        size = stream.seek(0, 2)
        stream.seek(max(0, size - end - locator - record))
        tail = stream.read()
    if start != b"PK\x03\x04" or not tail[-end:].startswith(b"PK\x05\x06"):
        return False
    length, offset, comment = struct.unpack("<IIH", tail[-10:])
    place = size - end
    if tail[-end - locator :].startswith(b"PK\x06\x07"):
        place -= locator + record
        (found,) = struct.unpack("<Q", tail[-end - locator + 8 : -end - locator + 16])
        if found != place or not tail.startswith(b"PK\x06\x06"):
            return False
        length, offset = struct.unpack("<QQ", tail[40:56])
    return comment == 0 and bool(offset + length == place)


def find_calls(operations: Operations, names: Names) -> Code:
    """Return what a pickle's operations would run. Raises UnreadableModel."""
    machine = _Machine(names)
    try:
        for name, argument in operations:
            machine.step(name, argument)
    except (IndexError, KeyError) as error:
        raise UnreadableModel("its pickle is damaged or cut off", AGAIN) from error
    return Code(listed=tuple(machine.found), missing=tuple(machine.missing))


class _Machine:
    """Pickle's virtual machine, on what is known about its values."""

    def __init__(self, names: Names) -> None:
        self.names = names
        self.stack: list[_Value] = []
        self.marks: list[int] = []
        """Stack size at each mark."""
        self.memo: dict[int, _Value] = {}
        self.found: dict[str, None] = {}
        self.missing: dict[str, None] = {}

    def step(self, operation: str, argument: object) -> None:
        """Follow one operation."""
        if operation in _TEXTS:
            self.stack.append(str(argument))
        elif operation in _PUSHED:
            self.stack.append(_PUSHED[operation])
        elif operation in _PUTS:
            self.memo[int(str(argument))] = self.top()
        elif operation in _GETS:
            self.stack.append(self.memo[int(str(argument))])
        elif operation not in _IDLE:
            _STEPS[operation](self, argument)

    def top(self) -> _Value:
        if len(self.stack) <= (self.marks[-1] if self.marks else 0):
            raise IndexError
        return self.stack[-1]

    def pop(self) -> _Value:
        self.top()
        return self.stack.pop()

    def pop_to_mark(self) -> list[_Value]:
        place = self.marks.pop()
        values = self.stack[place:]
        del self.stack[place:]
        return values

    def drop(self, _: object) -> None:
        """POP: a value, or a mark."""
        if self.marks and self.marks[-1] == len(self.stack):
            self.marks.pop()
        else:
            self.pop()

    def note(self, what: str) -> None:
        self.found[what] = None

    def hold(self, *values: _Value) -> None:
        """Note values that become part of another one; callables are not allowed there, because
        anything might call them.
        """
        for value in values:
            name = value.owner if isinstance(value, _Pair) else value
            known_name = isinstance(name, _Name) and self.names.has(name.text)
            if isinstance(name, _Name) and known_name and name.text not in self.names.values:
                self.note(f"{name.shown} as a value")

    def load(self, text: str) -> _Name:
        name = _Name(text)
        if not self.names.has(text):
            self.note(name.shown)
            if _is_missing(text):
                self.missing[name.shown] = None
        return name

    def load_from_stack(self, _: object) -> None:
        name, module = self.pop(), self.pop()
        if isinstance(name, str) and isinstance(module, str):
            self.stack.append(self.load(f"{module} {name}"))
        else:
            self.note("a name that is put together while it is loaded")
            self.stack.append(_Kind.DATA)

    def call(self, _: object) -> None:
        """REDUCE: a function and its arguments."""
        arguments, function = self.pop(), self.pop()
        if not isinstance(function, _Name):
            self.note("a call of something that it made itself")
            self.stack.append(_Kind.DATA)
        elif function.text in self.names.getters:
            if not isinstance(arguments, _Pair):
                self.note(function.shown)
            self.stack.append(_Kind.DATA)
        else:
            self.hold(arguments)
            if function.text in self.names.classes or function.text in self.names.values:
                self.note(f"{function.shown}(…)")
            self.stack.append(_Made(function))

    def make(self, count: int) -> None:
        """NEWOBJ, NEWOBJ_EX: an empty object of a class."""
        self.hold(*(self.pop() for _ in range(count)))
        kind = self.pop()
        name = kind if isinstance(kind, _Name) else _Name("an object")
        if not isinstance(kind, _Name):
            self.note("an object of a class that it made itself")
        elif self.names.has(name.text) and name.text not in self.names.classes:
            self.note(f"{name.shown}.__new__")
        self.stack.append(_Made(name))

    def instantiate(self, values: list[_Value], name: _Value) -> None:
        """INST, OBJ: an object by its class's `__init__`, as before protocol 2."""
        self.hold(*values)
        if isinstance(name, _Name) and self.names.has(name.text):
            self.note(f"{name.shown}(…)")
        elif not isinstance(name, _Name):
            self.note("an object of a class that it made itself")
        self.stack.append(_Kind.DATA)

    def build(self, _: object) -> None:
        """BUILD: set an object's state; allowed once, because the first state may decide what a
        second one runs.
        """
        self.hold(self.pop())
        value = self.top()
        if not isinstance(value, _Made) or value.built:
            self.note("a state for something that it did not make")
        else:
            value.built = True

    def fill(self, values: list[_Value], kind: _Kind) -> None:
        """Add items to a list, a dictionary or a set; for other objects this calls a method."""
        self.hold(*values)
        target = self.top()
        mapping = isinstance(target, _Made) and target.name.text in self.names.mappings
        if target is not kind and not (kind is _Kind.DICT and mapping):
            self.note("items for something that does not hold any")

    def pair(self, _: object) -> None:
        """TUPLE2."""
        second, first = self.pop(), self.pop()
        if isinstance(second, str) and self.is_owner(first, second):
            assert isinstance(first, _Name | _Made)
            self.stack.append(_Pair(first, second))
        else:
            self.hold(first, second)
            self.stack.append(_Kind.DATA)

    def is_owner(self, first: _Value, method: str) -> bool:
        if isinstance(first, _Name) and first.text in self.names.enums:
            return method.isidentifier() and method.isupper()
        text = first.name.text if isinstance(first, _Made) else getattr(first, "text", "")
        return method in _METHODS and text in self.names.classes

    def replace(self, values: list[_Value], kind: _Kind = _Kind.DATA) -> None:
        """Replace values by one that contains them."""
        self.hold(*values)
        self.stack.append(kind)

    def extension(self, argument: object) -> None:
        """EXT: a name by a number that the process registered."""
        self.note(f"the extension code {argument}")
        self.stack.append(_Kind.DATA)


_TEXTS = frozenset(
    {
        "STRING",
        "BINSTRING",
        "SHORT_BINSTRING",
        "UNICODE",
        "BINUNICODE",
        "SHORT_BINUNICODE",
        "BINUNICODE8",
    }
)
_PUSHED = dict.fromkeys(
    (
        *("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT"),
        *("NONE", "NEWTRUE", "NEWFALSE", "EMPTY_TUPLE", "PERSID", "NEXT_BUFFER"),
        *("BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8"),
    ),
    _Kind.DATA,
) | {
    "EMPTY_LIST": _Kind.LIST,
    "EMPTY_DICT": _Kind.DICT,
    "EMPTY_SET": _Kind.SET,
}
_PUTS = frozenset({"PUT", "BINPUT", "LONG_BINPUT"})
_GETS = frozenset({"GET", "BINGET", "LONG_BINGET"})
_IDLE = frozenset({"PROTO", "FRAME", "STOP", "READONLY_BUFFER"})


def _memoize(machine: _Machine, _: object) -> None:
    machine.memo[len(machine.memo)] = machine.top()


def _drop_to_mark(machine: _Machine, _: object) -> None:
    machine.pop_to_mark()


def _instantiate_first(machine: _Machine, _: object) -> None:
    values = machine.pop_to_mark()
    machine.instantiate(values[1:], values[0])


_STEPS: dict[str, Callable[[_Machine, object], None]] = {
    "GLOBAL": lambda machine, text: machine.stack.append(machine.load(str(text))),
    "STACK_GLOBAL": _Machine.load_from_stack,
    "REDUCE": _Machine.call,
    "NEWOBJ": lambda machine, _: machine.make(1),
    "NEWOBJ_EX": lambda machine, _: machine.make(2),
    "INST": lambda machine, text: machine.instantiate(
        machine.pop_to_mark(), machine.load(str(text))
    ),
    "OBJ": _instantiate_first,
    "BUILD": _Machine.build,
    "EXT1": _Machine.extension,
    "EXT2": _Machine.extension,
    "EXT4": _Machine.extension,
    "APPEND": lambda machine, _: machine.fill([machine.pop()], _Kind.LIST),
    "APPENDS": lambda machine, _: machine.fill(machine.pop_to_mark(), _Kind.LIST),
    "SETITEM": lambda machine, _: machine.fill([machine.pop(), machine.pop()], _Kind.DICT),
    "SETITEMS": lambda machine, _: machine.fill(machine.pop_to_mark(), _Kind.DICT),
    "ADDITEMS": lambda machine, _: machine.fill(machine.pop_to_mark(), _Kind.SET),
    "TUPLE": lambda machine, _: machine.replace(machine.pop_to_mark()),
    "TUPLE1": lambda machine, _: machine.replace([machine.pop()]),
    "TUPLE2": _Machine.pair,
    "TUPLE3": lambda machine, _: machine.replace([machine.pop() for _ in range(3)]),
    "LIST": lambda machine, _: machine.replace(machine.pop_to_mark(), _Kind.LIST),
    "DICT": lambda machine, _: machine.replace(machine.pop_to_mark(), _Kind.DICT),
    "FROZENSET": lambda machine, _: machine.replace(machine.pop_to_mark()),
    "BINPERSID": lambda machine, _: machine.replace([machine.pop()]),
    "MARK": lambda machine, _: machine.marks.append(len(machine.stack)),
    "POP": _Machine.drop,
    "POP_MARK": _drop_to_mark,
    "DUP": lambda machine, _: machine.stack.append(machine.top()),
    "MEMOIZE": _memoize,
}
