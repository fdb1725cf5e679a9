"""Results that one machine exports and another imports and restores without running a step."""

import io
import json
import os
import shutil
import tarfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from buildsys.cli import main
from buildsys.digest import digest_bytes
from buildsys.errors import BuildsysError
from buildsys.execution.session.session import Session
from buildsys.execution.store.action_entry import EntryOutput, blob_name, read_entry, write_entry
from buildsys.execution.store.garbage_collection import Limits, choose, remove, take_stock
from buildsys.execution.store.store import Store
from buildsys.execution.store.tree_index import encode_index
from buildsys.operations.transfer import explain_missing, take_in
from tests.conftest import Build, Sample, StandIn, make_workspace, no_environment
from tests.operations import golden

Capture = pytest.CaptureFixture[str]
Member = tuple[tarfile.TarInfo, bytes]


@pytest.fixture
def exported(built: None, workspace: Path, tmp_path: Path, capsys: Capture) -> Path:
    """An archive of everything that the workspace built."""
    archive = tmp_path / "results.tar"
    capsys.readouterr()
    assert main(["-C", str(workspace), "store", "export", "*", "-o", str(archive)]) == 0
    return archive


@pytest.fixture(scope="module")
def _archive(sample: Sample, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    root = tmp_path_factory.mktemp("exported")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BUILDSYS_STORE", str(root / "store"))
        workspace = make_workspace(root / "workspace")
        sample.copy(workspace, root / "store")
        archive = root / "results.tar"
        assert main(["-C", str(workspace), "store", "export", "*", "-o", str(archive)]) == 0
    return archive.read_bytes()


@pytest.fixture
def carried(_archive: bytes, tmp_path: Path) -> Path:
    """An archive of everything that a workspace on another machine built."""
    archive = tmp_path / "results.tar"
    archive.write_bytes(_archive)
    return archive


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], Path]:
    """A function that simulates another machine: the same repository at another path, an empty
    store.
    """

    def move() -> Path:
        monkeypatch.setenv("BUILDSYS_STORE", str(tmp_path / "other" / "store"))
        return make_workspace(tmp_path / "other" / "home" / "clone")

    return move


def rebuild(root: Path, tools: StandIn) -> dict[str, str]:
    """Build everything; return the statuses."""
    tools.ran.clear()
    session = Session(root, tools, no_environment)
    rows = session.build(list(session.plans))
    session.close()
    return {row.id: row.status for row in rows}


def manifests(root: Path) -> dict[str, bytes]:
    """The bytes of each published file and manifest, by path."""
    return {
        str(path.relative_to(root)): path.read_bytes()
        for path in root.glob("build/*/*/*")
        if path.is_file() and path.name != "build.json"
    }


def test_another_machine_restores_everything_and_runs_nothing(
    exported: Path, workspace: Path, tools: StandIn, elsewhere: Callable[[], Path], capsys: Capture
) -> None:
    """After an import everything is restored with the same manifests; a second import adds nothing."""
    golden.check("export", capsys.readouterr().out, exported.parent)
    other = elsewhere()
    for name in ("import", "import-again"):
        assert main(["-C", str(other), "store", "import", str(exported)]) == 0
        golden.check(name, capsys.readouterr().out, exported.parent)
    assert set(rebuild(other, tools).values()) == {"restored"}
    assert tools.ran == []
    assert manifests(other) == manifests(workspace)
    assert len(manifests(other)) >= 4


def test_what_needs_data_that_is_not_here_waits_for_it(
    exported: Path, workspace: Path, tools: StandIn, elsewhere: Callable[[], Path], tmp_path: Path
) -> None:
    """If the calibration changes in a clone without the data, the build waits for the data."""
    small = tmp_path / "small.tar"
    command = ["-C", str(workspace), "store", "export", "*", "--packages-only", "-o", str(small)]
    assert main(command) == 0
    other = elsewhere()
    shutil.copyfile(workspace / "buildsys.lock", other / "buildsys.lock")
    shutil.rmtree(other / "tags")
    assert main(["store", "import", str(small)]) == 0
    assert set(rebuild(other, tools).values()) == {"restored"}
    recipe = other / "recipes" / "tags.yaml"
    recipe.write_text(recipe.read_text().replace("count: 3", "count: 2"))
    for status in rebuild(other, tools).values():
        assert status.startswith("waiting for tags")
    assert tools.ran == []


@pytest.mark.usefixtures("built")
def test_a_part_of_the_builds_can_go(
    workspace: Path, tools: StandIn, elsewhere: Callable[[], Path], tmp_path: Path
) -> None:
    """An export of some builds is imported; other builds are made on that machine."""
    archive = tmp_path / "one.tar"
    assert main(["-C", str(workspace), "store", "export", "*@xiao*", "-o", str(archive)]) == 0
    other = elsewhere()
    assert main(["store", "import", str(archive)]) == 0
    statuses = rebuild(other, tools)
    assert statuses["tags@xiao-esp32s3"] == "restored"
    assert "compile_vela" in tools.ran
    assert "train_ultralytics" not in tools.ran


def test_packages_alone_restore_too(
    exported: Path, workspace: Path, tools: StandIn, elsewhere: Callable[[], Path], tmp_path: Path
) -> None:
    """With `--packages-only` intermediate files are exported as digests, and made only if a change needs
    them.
    """
    small = tmp_path / "small.tar"
    command = ["-C", str(workspace), "store", "export", "*", "--packages-only", "-o", str(small)]
    assert main(command) == 0
    assert len(blobs(small)) < len(blobs(exported))
    other = elsewhere()
    assert main(["store", "import", str(small)]) == 0
    assert set(rebuild(other, tools).values()) == {"restored"}
    assert tools.ran == []
    assert manifests(other) == manifests(workspace)
    recipe = other / "recipes" / "tags.yaml"
    recipe.write_text(
        recipe.read_text().replace("granularity: per-tensor", "granularity: per-channel")
    )
    assert set(rebuild(other, tools).values()) == {"built"}
    assert {"train_ultralytics", "export_ultralytics"} <= set(tools.ran)


def test_a_whole_archive_replaces_digests(
    exported: Path, workspace: Path, tools: StandIn, elsewhere: Callable[[], Path], tmp_path: Path
) -> None:
    """A later complete archive adds the bytes; a later archive of digests removes nothing."""
    small = tmp_path / "small.tar"
    command = ["-C", str(workspace), "store", "export", "*", "--packages-only", "-o", str(small)]
    assert main(command) == 0
    other = elsewhere()
    for archive in (small, exported, small):
        assert main(["store", "import", str(archive)]) == 0
    recipe = other / "recipes" / "tags.yaml"
    recipe.write_text(
        recipe.read_text().replace("granularity: per-tensor", "granularity: per-channel")
    )
    rebuild(other, tools)
    assert "train_ultralytics" not in tools.ran


def test_the_same_results_are_the_same_bytes(
    exported: Path, workspace: Path, elsewhere: Callable[[], Path], tools: StandIn, tmp_path: Path
) -> None:
    """Archives of the same results are equal byte by byte."""
    other = elsewhere()
    assert main(["store", "import", str(exported)]) == 0
    rebuild(other, tools)
    again = tmp_path / "again.tar"
    assert main(["-C", str(other), "store", "export", "*", "-o", str(again)]) == 0
    assert again.read_bytes() == exported.read_bytes()


def test_what_was_not_made_is_reported(
    workspace: Path, tools: StandIn, tmp_path: Path, capsys: Capture
) -> None:
    """Results that were not made are reported, and nothing is written unless a part is allowed."""
    tools.fail = {"compile_vela"}
    rebuild(workspace, tools)
    capsys.readouterr()
    archive = tmp_path / "results.tar"
    command = ["-C", str(workspace), "store", "export", "*", "-o", str(archive)]
    assert main(command) == 1
    golden.check("export-not-made", capsys.readouterr().err)
    assert not archive.exists()
    assert main([*command, "--partial"]) == 0
    assert archive.exists()
    assert "--partial" not in explain_missing((), partial=True)


@pytest.mark.usefixtures("built")
def test_what_the_store_lost_is_reported(workspace: Path, tmp_path: Path, capsys: Capture) -> None:
    """Results that the store lost are reported; the published build stays up to date."""
    shutil.rmtree(tmp_path / "store")
    capsys.readouterr()
    assert main(["-C", str(workspace), "store", "export", "*", "-o", str(tmp_path / "x.tar")]) == 1
    golden.check("export-lost", capsys.readouterr().err)


def test_a_name_that_nothing_has(workspace: Path, capsys: Capture) -> None:
    """An unknown name is wrong input; of a recipe with a mistake, the mistake is printed."""
    (workspace / "recipes" / "zz.yaml").write_text("name: zz\nsurce: 1\n")
    assert main(["-C", str(workspace), "store", "export", "zz", "-o", "x.tar"]) == 2
    assert "zz: error: cannot be built: its recipe has a mistake" in capsys.readouterr().err
    assert main(["-C", str(workspace), "store", "export", "tag@xiao-esp32s3", "-o", "x.tar"]) == 2
    golden.check("export-unknown", capsys.readouterr().err)


def test_a_red_gate_goes_along(
    build: Build, workspace: Path, tools: StandIn, elsewhere: Callable[[], Path], tmp_path: Path
) -> None:
    """A red verdict is exported, and the other machine does not measure again."""
    tools.metric = 0.05
    build()
    archive = tmp_path / "red.tar"
    assert main(["-C", str(workspace), "store", "export", "*", "-o", str(archive)]) == 0
    other = elsewhere()
    assert main(["store", "import", str(archive)]) == 0
    assert all(status.startswith("rejected") for status in rebuild(other, tools).values())
    assert tools.ran == []


def read(path: Path) -> list[Member]:
    """The members of an archive with their bytes."""
    with tarfile.open(path) as archive:
        return [(m, f.read() if (f := archive.extractfile(m)) else b"") for m in archive]


def write(path: Path, members: list[Member]) -> None:
    """Write an archive of these members."""
    with tarfile.open(path, "w") as archive:
        for member, data in members:
            archive.addfile(member, io.BytesIO(data))


def blobs(path: Path) -> list[str]:
    """The names of the blobs in an archive."""
    return [member.name for member, _ in read(path) if member.name.startswith("blobs/")]


def member(name: str, data: bytes = b"", kind: bytes = tarfile.REGTYPE, link: str = "") -> Member:
    """One unusual member."""
    info = tarfile.TarInfo(name)
    info.size, info.type, info.linkname = len(data), kind, link
    return info, data


def with_evil_tree(members: list[Member]) -> list[Member]:
    """Add a tree with a path outside its folder."""
    digest = digest_bytes(b"")
    index = encode_index([("../../.bashrc", 0, digest)])
    first = _first(members, "actions/")
    key = Path(members[first][0].name).stem
    entry = read_entry(key, members[first][1])
    evil = EntryOutput(name="evil", digest=digest_bytes(index), tree=True)
    data = write_entry(replace(entry, outputs=(*entry.outputs, evil)))
    header = json.loads(members[0][1])
    header["blobs"] += 2
    return [
        member(members[0][0].name, json.dumps(header).encode()),
        *members[1:first],
        member(members[first][0].name, data),
        *members[first + 1 :],
        member(blob_name(digest)),
        member(blob_name(evil.digest), index),
    ]


def with_foreign_blob(members: list[Member]) -> list[Member]:
    """Add a file that no result names."""
    header = json.loads(members[0][1])
    header["blobs"] += 1
    foreign = member(blob_name(digest_bytes(b"foreign")), b"foreign")
    return [member(members[0][0].name, json.dumps(header).encode()), *members[1:], foreign]


def _first(members: list[Member], kind: str) -> int:
    return next(i for i, (info, _) in enumerate(members) if info.name.startswith(kind))


def with_wrong_blob(members: list[Member]) -> list[Member]:
    """Append a byte to a blob."""
    index = _first(members, "blobs/")
    info, data = members[index]
    return [*members[:index], member(info.name, data + b"!"), *members[index + 1 :]]


def with_wrong_action(members: list[Member]) -> list[Member]:
    """Replace a record by an empty one."""
    index = _first(members, "actions/")
    return [
        *members[:index],
        member(members[index][0].name, b'{"outputs": 3}'),
        *members[index + 1 :],
    ]


def without_blob(members: list[Member]) -> list[Member]:
    """Remove a file but keep the header."""
    index = _first(members, "blobs/")
    header = json.loads(members[0][1])
    header["blobs"] -= 1
    text = json.dumps(header).encode()
    return [member(members[0][0].name, text), *members[1:index], *members[index + 1 :]]


def sparse(members: list[Member]) -> list[Member]:
    """Add a sparse member with a size of a terabyte."""
    info = tarfile.TarInfo("blobs/aa/" + "a" * 64)
    info.pax_headers = {
        "GNU.sparse.major": "0",
        "GNU.sparse.minor": "1",
        "GNU.sparse.map": "0,1",
        "GNU.sparse.size": str(1 << 40),
    }
    info.size = 1
    return [*members, (info, b"x")]


STRANGE: dict[str, Callable[[list[Member]], list[Member]]] = {
    "absolute": lambda m: [*m, member("/etc/cron.d/evil", b"x")],
    "parent": lambda m: [*m, member("blobs/../../evil", b"x")],
    "unknown": lambda m: [*m, member("readme.txt", b"x")],
    "wrong-folder": lambda m: [*m, member("blobs/ab/" + "c" * 64, b"x")],
    "symlink": lambda m: [
        *m,
        member("blobs/aa/" + "a" * 64, kind=tarfile.SYMTYPE, link="/etc/passwd"),
    ],
    "hardlink": lambda m: [*m, member("blobs/aa/" + "a" * 64, kind=tarfile.LNKTYPE, link="x")],
    "device": lambda m: [*m, member("blobs/aa/" + "a" * 64, kind=tarfile.CHRTYPE)],
    "sparse": sparse,
    "twice": lambda m: [*m, m[-1]],
    "no-header": lambda m: m[1:],
    "newer": lambda m: [member(m[0][0].name, b'{"format": 3, "other": 1}'), *m[1:]],
    "short": lambda m: m[:-1],
    "wrong-blob": with_wrong_blob,
    "wrong-action": with_wrong_action,
    "without-blob": without_blob,
    "evil-tree": with_evil_tree,
    "foreign-blob": with_foreign_blob,
}


@pytest.mark.parametrize("name", STRANGE)
def test_a_strange_archive_is_refused_whole(
    name: str, carried: Path, elsewhere: Callable[[], Path], tmp_path: Path, capsys: Capture
) -> None:
    """An invalid archive is refused as a whole, and nothing of it is kept."""
    write(carried, STRANGE[name](read(carried)))
    elsewhere()
    before = sorted(tmp_path.rglob("*"))
    capsys.readouterr()
    assert main(["store", "import", str(carried)]) == 2
    golden.check(f"import-{name}", capsys.readouterr().err, tmp_path)
    left = set(tmp_path.rglob("*")) - set(before)
    assert left <= {tmp_path / "other" / "store"}


@pytest.mark.parametrize("keep", [0, 100, 5000, 0.5, 0.85])
def test_a_part_of_an_archive_is_refused(
    keep: float, carried: Path, elsewhere: Callable[[], Path], tmp_path: Path, capsys: Capture
) -> None:
    """A truncated archive is refused."""
    data = carried.read_bytes()
    written = len(data.rstrip(b"\0"))  # the rest is padding, which may be missing
    carried.write_bytes(data[: int(keep if keep >= 1 else written * keep)])
    elsewhere()
    assert main(["store", "import", str(carried)]) == 2
    assert "nothing was imported" in capsys.readouterr().err
    assert not list((tmp_path / "other" / "store").rglob("*"))


def test_other_files_are_refused(tmp_path: Path, capsys: Capture) -> None:
    """An image, a compressed archive and an empty file are refused."""
    (tmp_path / "x.tar").write_bytes(b"\x89PNG" + bytes(2000))
    assert main(["store", "import", str(tmp_path / "x.tar")]) == 2
    golden.check("import-no-archive", capsys.readouterr().err, tmp_path)
    assert main(["store", "import", str(tmp_path / "absent.tar")]) == 1
    golden.check("import-absent", capsys.readouterr().err, tmp_path)


def test_what_is_here_stays(carried: Path, elsewhere: Callable[[], Path], tmp_path: Path) -> None:
    """An import does not rewrite existing blobs."""
    elsewhere()
    main(["store", "import", str(carried)])
    store = tmp_path / "other" / "store"
    inodes = dict(_inodes(store))
    (lost, _) = next(iter(_inodes(store / "blobs")))
    lost.unlink()
    main(["store", "import", str(carried)])
    now = dict(_inodes(store))
    assert now.keys() == inodes.keys()
    assert {path for path in now if now[path] != inodes[path]} <= {lost} | set(
        store.glob("actions/*/*")
    )


def _inodes(folder: Path) -> Iterator[tuple[Path, int]]:
    return ((path, path.stat().st_ino) for path in sorted(folder.rglob("*")) if path.is_file())


class _Disturbed(Store):
    """A store to which something happens before each file of an import."""

    def __init__(self, root: Path, disturb: Callable[[], None]) -> None:
        super().__init__(root)
        self.disturb = disturb

    def holds(self, digest: str, source: Path | None = None) -> bool:
        """Like `Store.holds`, after the disturbance."""
        self.disturb()
        return super().holds(digest, source)


def test_a_collection_leaves_the_files_of_a_running_import(carried: Path, tmp_path: Path) -> None:
    """However long an import takes, `buildsys gc` does not remove its files; it removes those of one
    that was killed.
    """
    store = Store(tmp_path / "other")
    killed = store.root / ".import-0"
    (killed / "blobs" / "aa").mkdir(parents=True)
    for name in ("import.lock", f"blobs/aa/{'a' * 64}"):
        (killed / name).write_text("")

    def collect() -> None:
        for path in store.root.rglob("*"):
            if path.is_file():
                os.utime(path, (0, 0))
        found = choose(take_stock(store), frozenset(), Limits(), time.time())
        remove(found.files)

    imported = take_in(_Disturbed(store.root, collect), carried)
    assert imported.actions
    assert imported.blobs == len(blobs(carried))
    for file in take_stock(store).actions:
        entry = store.recall(file.file.name)
        assert entry is not None
        assert entry.digests_only or all(store.has(o.digest, o.tree) for o in entry.outputs)
    assert not killed.exists()
    assert list(store.root.glob(".import-*")) == []


class _Collected(Store):
    """A store in which nothing was used for hours when an import has unpacked its files; it is
    collected whenever the import has moved one of them.
    """

    def holds(self, digest: str, source: Path | None = None) -> bool:
        """Like `Store.holds`, long ago."""
        found = super().holds(digest, source)
        for path in self.root.rglob("*"):
            if path.is_file():
                os.utime(path, (0, 0))
        return found

    def take(self, path: Path, digest: str) -> None:
        """Like `Store.take`, before a collection."""
        super().take(path, digest)
        remove(choose(take_stock(Store(self.root)), frozenset(), Limits(), time.time()).files)


def test_a_collection_leaves_files_that_an_import_has_not_named_yet(
    carried: Path, tmp_path: Path
) -> None:
    """What an import needs counts as used, although no result names it yet: files that it moves, files
    that are here already, and those that it expects here.
    """
    store, members = Store(tmp_path / "other"), read(carried)
    for info, data in [each for each in members if each[0].name.startswith("blobs/")][:3]:
        assert store.put_bytes(data) in info.name
    write(carried, without_blob(members))
    imported = take_in(_Collected(store.root), carried)
    assert (imported.blobs_known, imported.actions > 0) == (2, True)
    for file in take_stock(store).actions:
        entry = store.recall(file.file.name)
        assert entry is not None
        assert entry.digests_only or all(store.has(o.digest, o.tree) for o in entry.outputs)


def test_what_is_lost_during_an_import_is_an_error(carried: Path, tmp_path: Path) -> None:
    """If a file of an import disappears, nothing is imported."""

    def lose() -> None:
        for path in tmp_path.glob("other/.import-*/blobs/*/*"):
            if not path.read_bytes().startswith(b"[["):
                path.unlink()

    store = _Disturbed(tmp_path / "other", lose)
    with pytest.raises(
        BuildsysError, match=r"removed from the store during the import .*nothing was"
    ):
        take_in(store, carried)
    assert not take_stock(store).actions
    assert not take_stock(store).blobs
