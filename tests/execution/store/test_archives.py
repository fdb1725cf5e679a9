"""Archives from strangers: correct ones are unpacked, malicious ones leave nothing but a message."""

import bz2
import contextlib
import errno
import gzip
import io
import lzma
import os
import struct
import subprocess
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from buildsys.errors import InputError
from buildsys.execution.store import archives
from buildsys.execution.store.archives import unpack

_FILES = {
    "data.yaml": b"names: {0: tag}\n",
    "images/train/a.jpg": bytes(range(256)) * 40,
    "images/train/\u00e4.jpg": b"",
    "labels/train/a.txt": b"0 0.5 0.5 1 1\n",
}
Entry = tuple[str, bytes]


def _zip(entries: list[Entry], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for name, data in entries:
            info = zipfile.ZipInfo("placeholder")
            info.filename, info.compress_type = name, method
            archive.writestr(info, data)
    return buffer.getvalue()


def _tar(entries: list[Entry], kind: bytes = tarfile.REGTYPE, link: str = "") -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, data in entries:
            info = tarfile.TarInfo(name)
            info.size, info.type, info.linkname = len(data), kind, link
            archive.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


_PACKED: dict[str, Callable[[list[Entry]], bytes]] = {
    "zip": _zip,
    "stored-zip": lambda entries: _zip(entries, zipfile.ZIP_STORED),
    "lzma-zip": lambda entries: _zip(entries, zipfile.ZIP_LZMA),
    "tar": _tar,
    "tar.gz": lambda entries: gzip.compress(_tar(entries)),
    "tar.xz": lambda entries: lzma.compress(_tar(entries)),
    "tar.bz2": lambda entries: bz2.compress(_tar(entries)),
}


def _content(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def _refuse(tmp_path: Path, data: bytes) -> str:
    """Return the message about a rejected archive; nothing of it may remain."""
    archive = tmp_path / "evil.bin"
    archive.write_bytes(data)
    with pytest.raises(InputError) as caught:
        unpack(archive, tmp_path / "in" / "data", label="data.zip")
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["evil.bin", "in"]
    (diagnostic,) = caught.value.diagnostics
    assert diagnostic.path == "data.zip"
    assert len(diagnostic.message) < 300
    assert diagnostic.message.isprintable()
    return diagnostic.message


@pytest.mark.parametrize("kind", _PACKED)
def test_every_kind_unpacks_by_its_content(tmp_path: Path, kind: str) -> None:
    """The kind of an archive is recognized by its content, not its name."""
    archive = tmp_path / "download?id=7"
    archive.write_bytes(_PACKED[kind]([("./", b""), *_FILES.items()][kind.endswith("zip") :]))
    unpack(archive, tmp_path / "data")
    assert _content(tmp_path / "data") == _FILES
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data", "download?id=7"]


def test_modes_are_those_of_any_new_file(tmp_path: Path) -> None:
    """Unpacked files have the modes of new files."""
    (tmp_path / "a.zip").write_bytes(_zip(list(_FILES.items())))
    unpack(tmp_path / "a.zip", tmp_path / "data")
    (tmp_path / "new").mkdir()
    (tmp_path / "new" / "file").touch()
    for mine, usual in (("data", "new"), ("data/data.yaml", "new/file"), ("data/images", "new")):
        assert (tmp_path / mine).stat().st_mode == (tmp_path / usual).stat().st_mode


def test_what_a_mac_packs_beside_the_files_is_left_out(tmp_path: Path) -> None:
    """macOS metadata files in an archive are omitted."""
    junk = [("__MACOSX/images/._a.jpg", b"x"), ("images/.DS_Store", b"x"), ("._data.yaml", b"x")]
    (tmp_path / "a.tar").write_bytes(_tar([*junk, *_FILES.items()]))
    unpack(tmp_path / "a.tar", tmp_path / "data")
    assert _content(tmp_path / "data") == _FILES


_NAMES = {
    "../evil": "`../evil` leads out of its folder",
    "a/../../evil": "`a/../../evil` leads out of its folder",
    "/etc/evil": "`/etc/evil` is an absolute path",
    "C:/evil": "`C:/evil` is an absolute path",
    "c:evil": "`c:evil` is an absolute path",
    "..\\evil": "`..\\evil` has a backslash in its name",
    "a\nb": "`a\\nb` has a control character in its name or is not UTF-8",
    "x" * 256: f"the name `{'x' * 50}…{'x' * 25}` is too long",
    "a/" * 1600 + "b": f"the name `{'a/' * 25}…{'a/' * 12}b` is too long",
}


@pytest.mark.parametrize("name", _NAMES, ids=range(len(_NAMES)))
@pytest.mark.parametrize("kind", ["zip", "tar.gz"])
def test_names_that_lead_elsewhere(tmp_path: Path, kind: str, name: str) -> None:
    """Names that lead outside are rejected."""
    assert _refuse(tmp_path, _PACKED[kind]([*_FILES.items(), (name, b"evil")])) == _NAMES[name]


def test_names_that_are_no_utf_8(tmp_path: Path) -> None:
    """Names that are not UTF-8 are rejected."""
    data = _tar([("caf\udce9", b"")])
    assert _refuse(tmp_path, data).startswith("`caf\\udce9` has a control character")


@pytest.mark.parametrize(
    ("first", "second", "told"),
    [
        ("a.jpg", "a.jpg", "duplicate file name `a.jpg`"),
        ("images", "images/a.jpg", "duplicate file name `images`"),
        ("images/a.jpg", "images", "duplicate file name `images`"),
        ("a.jpg", "A.jpg", "`a.jpg` and `A.jpg`"),
        ("\u00e4.jpg", "a\u0308.jpg", "`\u00e4.jpg` and `a\u0308.jpg`"),
        ("stra\u00dfe", "STRASSE", "`stra\u00dfe` and `STRASSE`"),
        ("images/a.jpg", "Images/b.jpg", "`images` and `Images`"),
    ],
)
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_names_that_collide(tmp_path: Path, first: str, second: str, told: str) -> None:
    """Names that collide on some file systems are rejected."""
    for pack in (_zip, _tar):
        whole = f"{told} are the same name on some file systems" if " and " in told else told
        assert _refuse(tmp_path, pack([(first, b"1"), (second, b"2")])) == whole
        (tmp_path / "in").rmdir()


@pytest.mark.parametrize(
    ("kind", "told"),
    [
        (tarfile.SYMTYPE, "a link"),
        (tarfile.LNKTYPE, "a link"),
        (tarfile.CHRTYPE, "neither a file nor a folder"),
        (tarfile.BLKTYPE, "neither a file nor a folder"),
        (tarfile.FIFOTYPE, "neither a file nor a folder"),
    ],
)
def test_links_and_devices(tmp_path: Path, kind: bytes, told: str) -> None:
    """Links and devices are rejected."""
    data = _tar([("way", b"")], kind, "/")
    assert _refuse(tmp_path, data) == f"`way` is {told}"


def test_link_in_a_zip(tmp_path: Path) -> None:
    """Links in a zip are rejected."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        info = zipfile.ZipInfo("way")
        info.external_attr = 0o120777 << 16
        archive.writestr(info, "/etc")
    assert _refuse(tmp_path, buffer.getvalue()) == "`way` is a link"


def test_encrypted_member(tmp_path: Path) -> None:
    """Encrypted members are rejected."""
    data = bytearray(_zip([("a.jpg", b"secret")]))
    data[6] |= 1  # the flag in the local header and in the directory
    data[data.index(b"PK\x01\x02") + 8] |= 1
    assert _refuse(tmp_path, bytes(data)) == "`a.jpg` is encrypted"


def test_bomb(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A decompression bomb is rejected."""
    monkeypatch.setattr(archives, "_FREE", 100_000)
    entries = [(f"{number}.jpg", bytes(90_000)) for number in range(40)]
    for kind in ("zip", "tar.gz", "tar.xz"):
        told = _refuse(tmp_path, _PACKED[kind](entries))
        assert told.endswith("MB of archive unpack to more than the limit")
        (tmp_path / "in").rmdir()


def test_what_is_large_already_may_unpack(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A large archive may unpack to a large dataset."""
    monkeypatch.setattr(archives, "_FREE", 1_000)
    entries = [(f"{number}.jpg", os.urandom(2_000)) for number in range(20)]
    for kind in ("zip", "tar", "tar.gz"):
        (tmp_path / kind).write_bytes(_PACKED[kind](entries))
        unpack(tmp_path / kind, tmp_path / f"data-{kind}")
        assert _content(tmp_path / f"data-{kind}") == dict(entries)


def test_millions_of_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Too many members are rejected."""
    monkeypatch.setattr(archives, "_FREE", 100_000)
    data = lzma.compress(_tar([(f"{number}/", b"") for number in range(2_000)]))
    assert "unpack to more than the limit" in _refuse(tmp_path, data)


def test_header_that_asks_for_gigabytes(tmp_path: Path) -> None:
    """A header that announces a huge name is rejected."""
    info = tarfile.TarInfo("a")
    info.type, info.size = tarfile.GNUTYPE_LONGNAME, 8 << 30
    assert "a header of 8589934592 bytes" in _refuse(tmp_path, info.tobuf(tarfile.GNU_FORMAT))


@pytest.mark.slow
def test_sparse_file(tmp_path: Path) -> None:
    """Sparse files are rejected."""
    with (tmp_path / "holes").open("wb") as file:
        file.truncate(1 << 30)
    command = ["tar", "-C", str(tmp_path), "--sparse", "-cf", "-", "holes"]
    data = subprocess.run(command, check=True, capture_output=True).stdout
    (tmp_path / "holes").unlink()
    assert len(data) < 1_000_000
    assert _refuse(tmp_path, data) == "`holes` is neither a file nor a folder"


@pytest.mark.parametrize("kind", _PACKED)
def test_cut_off_anywhere(tmp_path: Path, kind: str) -> None:
    """An archive truncated anywhere is rejected."""
    data = _PACKED[kind](list(_FILES.items()))
    end = data.rindex(b"0 0.5") if kind == "tar" else len(data)
    for cut in (*range(1, end, max(1, end // 23)), end - 1):
        archive = tmp_path / "cut"
        archive.write_bytes(data[:cut])
        with pytest.raises(InputError, match=r"is damaged or cut off|this is neither"):
            unpack(archive, tmp_path / "data")
        assert [path.name for path in tmp_path.iterdir()] == ["cut"]


@pytest.mark.parametrize("kind", _PACKED)
def test_flipped_bytes(tmp_path: Path, kind: str) -> None:
    """Flipped bytes give no traceback; undetected damage is covered by the recipe's digest."""
    data = _PACKED[kind](list(_FILES.items()))
    for place in range(0, len(data), max(1, len(data) // 150)):
        archive, target = tmp_path / "flipped", tmp_path / f"data-{place}"
        archive.write_bytes(data[:place] + bytes([data[place] ^ 0x5A]) + data[place + 1 :])
        with contextlib.suppress(InputError):
            unpack(archive, target)


@pytest.mark.parametrize(
    "data", [b"", b"hello", b"\x7fELF" + bytes(1000), b"PK\x05\x06" + bytes(18)]
)
def test_no_archive_at_all(tmp_path: Path, data: bytes) -> None:
    """A file that is not an archive is rejected."""
    told = _refuse(tmp_path, data)
    assert told in ("this is neither a zip nor a tar archive", "the archive contains no files")


def test_directory_that_lies_about_sizes(tmp_path: Path) -> None:
    """A member larger than its directory entry is rejected."""
    data = bytearray(_zip([("a.jpg", bytes(100_000))]))
    place = data.index(b"PK\x01\x02")
    data[place + 24 : place + 28] = struct.pack("<I", 10)
    assert _refuse(tmp_path, bytes(data)).startswith("the archive is damaged or cut off")


def test_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a full disk, nothing partial remains."""

    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(archives, "_copy", full)
    told = _refuse(tmp_path, _zip(list(_FILES.items())))
    assert told == "the disk became full during unpacking"


def test_folder_that_is_there_stays(tmp_path: Path) -> None:
    """An existing folder is kept."""
    (tmp_path / "a.zip").write_bytes(_zip(list(_FILES.items())))
    (tmp_path / "data").mkdir()
    with pytest.raises(FileExistsError):
        unpack(tmp_path / "a.zip", tmp_path / "data")
    assert not any((tmp_path / "data").iterdir())


def test_missing_archive_and_other_things(tmp_path: Path) -> None:
    """Missing and special files are rejected."""
    os.mkfifo(tmp_path / "pipe")
    for name, told in (
        ("gone", "it cannot be unpacked: No such file"),
        ("pipe", "this is not a regular file"),
    ):
        with pytest.raises(InputError, match=told):
            unpack(tmp_path / name, tmp_path / "data")
