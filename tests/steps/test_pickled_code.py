"""Which code loading a pickle would run, determined without running it."""

import pickle
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path

import pytest

from buildsys.steps.lib.families.pickled_code import NO_CODE, Code, find_code
from buildsys.steps.lib.files.foreign import UnreadableModel
from tests.checkpoints import archive_of


def _text(word: str) -> bytes:
    return b"X" + len(word).to_bytes(4, "little") + word.encode()


def _name(module: str, name: str) -> bytes:
    return f"c{module}\n{name}\n".encode()


_CONV = _name("ultralytics.nn.modules.conv", "Conv")
_MADE = _CONV + b")\x81"
_SYSTEM = _name("os", "system")
_GETATTR = _name("__builtin__", "getattr")
_FORWARD = _text("forward")
HOSTILE: dict[str, tuple[bytes, str]] = {
    # name: (operations between PROTO and STOP, what is listed)
    "a function of the system": (_SYSTEM + _text("id") + b"\x85R", "os.system"),
    "named on the stack": (_text("posix") + _text("system") + b"\x93)R", "posix.system"),
    "named from the memo": (
        _text("posix") + b"q\x000" + _text("system") + b"q\x010h\x00h\x01\x93)R",
        "posix.system",
    ),
    "named by what it made": (_MADE + _text("x") + b"\x93", "a name that is put together"),
    "held, not called": (_SYSTEM, "os.system"),
    "an old instance": (b"(" + _text("id") + b"ios\nsystem\n", "os.system"),
    "an old object": (b"(" + _SYSTEM + _text("id") + b"o", "os.system"),
    "a code of the registry": (b"\x82\x01)R", "the extension code 1"),
    "eval": (_name("builtins", "eval") + _text("1") + b"\x85R", "builtins.eval"),
    "partial": (_name("functools", "partial") + b")R", "functools.partial"),
    "attrgetter": (_name("operator", "attrgetter") + _text("x") + b"\x85R", "operator.attrgetter"),
    "a loader of torch": (_name("torch.hub", "load") + _text("x") + b"\x85R", "torch.hub.load"),
    "a pickle in it": (
        _name("torch.storage", "_load_from_bytes") + _text("x") + b"\x85R",
        "torch.storage._load_from_bytes",
    ),
    "a loader of numpy": (_name("numpy", "load") + _text("x") + b"\x85R", "numpy.load"),
    "a function of Ultralytics": (
        _name("ultralytics.utils.downloads", "safe_download") + _text("x") + b"\x85R",
        "ultralytics.utils.downloads.safe_download",
    ),
    "a part of a name": (_name("torch.nn.modules.conv", "Conv2d.apply"), "torch.nn.modules.conv."),
    "a class that is called": (
        _name("ultralytics.nn.tasks", "DetectionModel") + b"}\x85R",
        "ultralytics.nn.tasks.DetectionModel(…)",
    ),
    "a class in an old instance": (
        b"(iultralytics.nn.tasks\nDetectionModel\n",
        "DetectionModel(…)",
    ),
    "a class to be called later": (
        b"]" + _CONV + b"a",
        "ultralytics.nn.modules.conv.Conv as a value",
    ),
    "a class in a state": (
        _MADE + b"}" + _text("forward") + _CONV + b"sb",
        "ultralytics.nn.modules.conv.Conv as a value",
    ),
    "a function to be called later": (
        b"}" + _text("x") + _name("_codecs", "encode") + b"s",
        "_codecs.encode as a value",
    ),
    "an object that is called": (_MADE + b")R", "a call of something that it made itself"),
    "a class of an object": (_MADE + b")\x81", "an object of a class that it made itself"),
    "getattr of anything": (
        _GETATTR + _name("os", "x") + _text("system") + b"\x86R",
        "builtins.getattr",
    ),
    "getattr of another method": (_GETATTR + _CONV + _text("__init__") + b"\x86R", "getattr"),
    "getattr by arguments made before": (
        _CONV + _FORWARD + b"\x86q\x000]h\x00a",
        "ultralytics.nn.modules.conv.Conv as a value",
    ),
    "a second state": (_MADE + b"}b}b", "a state for something that it did not make"),
    "a method by items": (_MADE + b"Na", "items for something that does not hold any"),
}


def _find(tmp_path: Path, operations: bytes) -> tuple[str, ...]:
    path = tmp_path / "x.pt"
    path.write_bytes(archive_of(b"\x80\x02" + operations + b"."))
    return find_code(path, objects=True).listed


@pytest.mark.parametrize("name", HOSTILE)
def test_code_is_listed(tmp_path: Path, name: str) -> None:
    """Each way to run code, directly or later, is listed."""
    operations, listed = HOSTILE[name]
    assert any(listed in found for found in _find(tmp_path, operations))


def test_what_checkpoints_do_is_known(tmp_path: Path) -> None:
    """The operations of ordinary checkpoints are allowed."""
    storage = b"(" + _text("storage") + _name("torch", "FloatStorage") + _text("0") + b"tQ"
    tensor = _name("torch._utils", "_rebuild_tensor_v2") + b"(" + storage + b"K\x00tR"
    state = b"}(" + _text("weight") + tensor + _FORWARD + _GETATTR + _CONV + _FORWARD + b"\x86Ru"
    kind = _name("numpy", "dtype") + _text("f8") + b"\x85R(K\x03tb"
    word = _name("_codecs", "encode") + _text("x") + b"\x85R"
    number = _name("numpy.core.multiarray", "scalar") + kind + word + b"\x86R"
    ordered = pickle.dumps(OrderedDict(a=1), protocol=2)[2:-1]
    assert _find(tmp_path, _MADE + state + b"b" + number + ordered + b"\x87") == ()


def _in_front(content: bytes) -> bytes:
    return b"PK\x03\x04" + content


def _with_extra(content: bytes) -> bytes:
    """Add an extra field with 64-bit sizes and offsets to the directory entry."""
    place = content.index(b"PK\x01\x02")
    extra = b"\x01\x00\x08\x00" + bytes(8)
    name = place + 46 + len("archive/data.pkl")
    entry = content[place:name]
    entry = entry[:30] + len(extra).to_bytes(2, "little") + entry[32:]
    end = content[name:]
    size = int.from_bytes(end[12:16], "little") + len(extra)
    return content[:place] + entry + extra + end[:12] + size.to_bytes(4, "little") + end[16:]


@pytest.mark.parametrize(
    "change",
    [_in_front, lambda content: content + b"x", lambda c: c[:-2] + b"\x01\x00x", _with_extra],
    ids=["in front", "behind", "a comment", "another place"],
)
def test_an_archive_that_two_programs_read_differently_is_refused(
    tmp_path: Path, change: Callable[[bytes], bytes]
) -> None:
    """An archive in which torch's own reader might find another pickle is refused."""
    path = tmp_path / "x.pt"
    path.write_bytes(archive_of(b"\x80\x02N."))
    assert find_code(path, objects=True) == NO_CODE
    path.write_bytes(change(path.read_bytes()))
    with pytest.raises(UnreadableModel, match=r"not an archive as torch\.save writes it|damaged"):
        find_code(path, objects=True)


def test_tensors_alone_need_no_classes(tmp_path: Path) -> None:
    """For a family that needs only tensors, a network object is listed as code."""
    path = tmp_path / "x.pth"
    path.write_bytes(archive_of(b"\x80\x02" + _MADE + b"."))
    assert find_code(path, objects=False) == Code(listed=("ultralytics.nn.modules.conv.Conv",))


def test_what_no_environment_of_tools_has_is_missing(tmp_path: Path) -> None:
    """A user's own modules are listed as missing; the standard library and installed packages are
    not.
    """
    path = tmp_path / "x.pt"
    own = (("mynets.layers", "Note"), ("__main__", "Net"))
    there = (("os", "system"), ("copy_reg", "_reconstructor"), ("cv2", "imread"))
    operations = b"".join(_name(*name) + b"0" for name in (*own, *there))
    path.write_bytes(archive_of(b"\x80\x02" + operations + b"N."))
    found = find_code(path, objects=True)
    assert found.missing == ("mynets.layers.Note", "__main__.Net")
    assert {"os.system", "copy_reg._reconstructor", "cv2.imread"} < set(found.listed)
    assert find_code(path, objects=False).missing == ()


@pytest.mark.parametrize(
    "operations",
    [b"R", b"(0R", b"h\x07", b"1", b"2", b"N(b", b"\x94"],
    ids=[
        "nothing to call",
        "below a mark",
        "no memo",
        "no mark",
        "nothing twice",
        "a mark",
        "none",
    ],
)
def test_a_pickle_that_no_machine_follows_is_damaged(tmp_path: Path, operations: bytes) -> None:
    """A pickle with invalid operations is damaged."""
    with pytest.raises(UnreadableModel, match="damaged"):
        _find(tmp_path, operations)


def test_reading_is_bounded(tmp_path: Path) -> None:
    """Each operation is read once, whatever the pickle contains."""
    assert _find(tmp_path, b"(" * 200_000 + b"1" * 200_000 + b"N") == ()
    names = b"".join(_name("os", f"f{index}") + b"0" for index in range(50_000))
    assert len(_find(tmp_path, names + b"N")) == 50_000
