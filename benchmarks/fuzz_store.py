"""Damages a store, makes malformed indexes and archives, and checks what commands do with them.

A small workspace is built once with stand-ins for its tools. Each case then changes one thing: a bit
of a file in the store (`flips`), or its length (`cuts`); an index that a result names (`indexes`); a
link, pipe or folder where a file of the store belongs (`places`); the archive of `store import`
(`archives`), or that of a dataset (`datasets`). After it come a restore, `gc`, `store export`, and a
restore from that export. A finding is a wrong file in build/, a change outside the workspace and the
store, a traceback, an error without a message, or a case that takes too long.

    python benchmarks/fuzz_store.py [--kinds flips cuts indexes ...] [--count 1000] [--seed 0] [--jobs 2]
    python benchmarks/fuzz_store.py --kinds indexes --only 17     # one case, with all output
"""

import contextlib
import io
import json
import os
import random
import shutil
import stat
import sys
import tarfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(REPOSITORY))

from benchmarks.fuzzing import fuzz, problem_in  # noqa: E402
from buildsys import cli  # noqa: E402
from buildsys.digest import canonical, digest_bytes, digest_file, plain  # noqa: E402
from buildsys.errors import BuildsysError, InputError  # noqa: E402
from buildsys.execution.session.session import Session  # noqa: E402
from buildsys.execution.store.action_entry import (  # noqa: E402
    ActionEntry,
    action_name,
    blob_name,
    read_entry,
    write_entry,
)
from buildsys.execution.store.archives import unpack  # noqa: E402
from buildsys.graph import steps_of  # noqa: E402
from buildsys.records import write_record  # noqa: E402
from tests.conftest import StandIn, make_workspace, no_environment  # noqa: E402
from tests.damage import cut, flip, snapshot  # noqa: E402

KINDS = ("flips", "cuts", "indexes", "places", "archives", "datasets")
_SECONDS = 60.0
_NAMES = (
    "../x",
    "../../../../../../../../canary/victim",
    "a/../../x",
    "..",
    ".",
    "",
    "a//b",
    "a\\b",
    "C:x",
    "C:/x",
    "a\0b",
    "a\nb",
    "\udc80",
    "x" * 256,
    "y/" * 2000 + "x",
)
_NUMBERS: tuple[Any, ...] = (
    -1,
    1 << 63,
    1 << 70,
    1.0,
    1e300,
    float("nan"),
    "1",
    None,
    True,
    [],
    {},
    0,
)
Member = tuple[tarfile.TarInfo, bytes]


@dataclass
class Archive:
    """An archive being made; `at`: the index of the member that is changed."""

    members: list[Member]
    at: int
    form: int = tarfile.PAX_FORMAT

    @property
    def info(self) -> tarfile.TarInfo:
        return self.members[self.at][0]


class Fuzzer:
    """A workspace that was built once, its store and exported archive, and numbered cases."""

    def __init__(self, seed: int, root: Path) -> None:
        self.seed, self.root = seed, root
        self.deep = root / "a" / "b" / "c" / "d"
        self.place, self.store = self.deep / "place", self.deep / "store"
        self.archive = self.deep / "results.tar"
        self.names = (*_NAMES, str(root / "canary" / "victim"))
        (root / "canary").mkdir()
        (root / "canary" / "victim").write_text("mine")
        os.utime(root / "canary" / "victim", (0, 0))
        os.environ |= {
            "BUILDSYS_STORE": str(self.store),
            "XDG_CACHE_HOME": str(self.deep / "cache"),
            "BUILDSYS_REPORT": "none",
        }
        make_workspace(self.place)
        recipe = self.place / "recipes" / "tags.yaml"
        recipe.write_text(recipe.read_text().replace("  - grove-vision-ai-v2\n", ""))
        self.said = ""
        self.stages: dict[str, str] = {}
        self.build()
        self.expected = self.shipped()
        self.lock = (self.place / "buildsys.lock").read_bytes()
        shutil.rmtree(self.store / "locks", ignore_errors=True)
        self.stored = snapshot(self.store)
        self.entries = self._entries()
        self.files = self._files()
        self.command("store", "export", "*", "-o", str(self.archive))
        self.exported = self.archive.read_bytes()
        self.outside = self._outside()

    def case(self, kind: str, number: int) -> tuple[str, str]:
        """Run one case; return what it changed, and what is wrong with the result ("" if nothing is)."""
        rng = random.Random(f"{self.seed} {kind} {number}")
        self._reset()
        self.said, what = "", kind

        def look() -> str:
            nonlocal what
            what = getattr(self, f"_do_{kind}")(rng)
            if kind != "datasets":
                self._look(rng, kind == "places")
            return "" if self._outside() == self.outside else "touched something outside"

        problem = problem_in(look, _SECONDS)  # before `what` is read
        return what, problem

    def build(self) -> list[str]:
        """Run all builds and return their statuses."""
        session = Session(self.place, StandIn(), no_environment)
        printed = io.StringIO()
        try:
            with contextlib.redirect_stderr(printed), contextlib.redirect_stdout(printed):
                rows = session.build(list(session.plans))
                if not self.stages:
                    steps = [step for plan in session.plans.values() for step in steps_of(plan)]
                    self.stages = {session.state.decide(step).key: step.stage for step in steps}
        finally:
            session.close()
            self.said += printed.getvalue()
        return [row.status for row in rows]

    def command(self, *arguments: str) -> int:
        """Run a command and return its exit code; its output is added to `said`.

        A traceback, or an error without a message, is a finding.
        """
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed):
            code = cli.main(["-C", str(self.place), *arguments])
        text = printed.getvalue()
        self.said += f"$ {' '.join(arguments)}: {code}\n{text}"
        _require("Traceback" not in text, "a traceback")
        _require(code == 0 or text.strip(), "an end without a word")
        return code

    def shipped(self) -> dict[str, str]:
        """Return the digests of all files in build/, without build.json, which differs in each run."""
        folder = self.place / "build" / "tags"
        return {
            str(path.relative_to(folder)): digest_file(path)
            for path in sorted(folder.rglob("*"))
            if path.is_file() and not path.is_symlink() and path.name != "build.json"
        }

    def _look(self, rng: random.Random, refusals: bool) -> None:
        """Restore, collect garbage, export, and restore from the export."""
        self._restore(refusals)
        if rng.random() < 0.5:
            self.command("gc", *rng.choice([(), ("--dry-run",), ("--max-size", "1K")]))
            self._restore(refusals, keep_state=rng.random() < 0.5)
        if rng.random() < 0.5:
            return
        out = self.deep / "out.tar"
        if self.command("store", "export", "*", "--partial", "-o", str(out)) == 0:
            shutil.rmtree(self.store)
            code = self.command("store", "import", str(out))
            _require(code == 0, "what was exported is not taken back")
            self._restore(refusals=False)

    def _restore(self, refusals: bool, keep_state: bool = False) -> None:
        shutil.rmtree(self.place / "build", ignore_errors=True)
        if not keep_state:
            self._forget()
        if (self.place / "buildsys.lock").read_bytes() != self.lock:
            (self.place / "buildsys.lock").write_bytes(self.lock)
        try:
            statuses = self.build()
        except BuildsysError as error:
            _require(refusals, error)
            _require(str(error), "an error without a word")
            self.said += f"{error}\n"
            return
        self.said += f"{statuses}\n"
        good = {"built", "restored", "up-to-date"}
        if set(statuses) <= good:
            found, wanted = self.shipped(), self.expected
            differ = {name for name in found.keys() | wanted if found.get(name) != wanted.get(name)}
            if "is published without the curves" in self.said:  # nothing is trained again for them
                differ -= {n for n in differ - found.keys() if "/curves/" in n or "/training/" in n}
            _require(not differ, differ)
        else:
            _require(refusals, statuses)
            _require("not finished" not in statuses, "only `not finished`")
            _require(not self.shipped(), "half of a package")

    def _reset(self) -> None:
        for path in (self.store, self.place / "build"):
            shutil.rmtree(path, ignore_errors=True)
        self._forget()
        for name, (mode, data) in self.stored.items():
            path = self.store / name
            path.parent.mkdir(parents=True, exist_ok=True)
            if stat.S_ISDIR(mode):
                path.mkdir(exist_ok=True)
            else:
                path.write_bytes(data)
                path.chmod(stat.S_IMODE(mode))

    def _forget(self) -> None:
        """Remove the workspace's state, but neither the mark that it was made here nor its plans:
        reading recipes again would be most of a case's time.
        """
        for path in (self.place / ".buildsys").iterdir():
            if path.is_dir() and path.name != "plans":
                shutil.rmtree(path, ignore_errors=True)
            elif not path.is_dir() and path.name != "made-here":
                path.unlink()

    def _outside(self) -> dict[str, tuple[int, bytes]]:
        """Return the content of everything that no case may change."""
        inside = tuple(
            str(path.relative_to(self.root))
            for path in (self.store, self.place, self.deep / "cache")
        )
        ours = {
            str((self.deep / name).relative_to(self.root)) for name in ("out.tar", "results.tar")
        }
        found = snapshot(self.root)
        kept = {n: f for n, f in found.items() if not n.startswith(inside) and n not in ours}
        given = snapshot(self.place)
        people = ("tags/", "recipes/", "start.bin")
        kept |= {f"place/{n}": found for n, found in given.items() if n.startswith(people)}
        return kept

    def _entries(self) -> dict[str, ActionEntry]:
        """Return the entries in the store, in order of module and stage.

        Their keys change with every commit; a case with a number must stay the same.
        """
        found = {}
        for name, (_, data) in self.stored.items():
            key = Path(name).stem
            if name.startswith("actions/") and key in self.stages:
                found[name] = read_entry(key, data)
        return dict(sorted(found.items(), key=lambda n: (n[1].module, self.stages[n[1].key])))

    def _files(self) -> list[str]:
        """Return all files of the store that are not empty: each entry, then the files that it names."""
        ordered: dict[str, None] = {}
        for name, entry in self.entries.items():
            ordered[name] = None
            for output in entry.outputs:
                blob = blob_name(output.digest)
                ordered[blob] = None
                rows = json.loads(self.stored[blob][1]) if output.tree else []
                ordered |= dict.fromkeys(blob_name(digest) for _, _, digest in rows)
        ordered |= dict.fromkeys(sorted(self.stored))
        found = {n: self.stored[n] for n in ordered if n in self.stored}
        return [n for n, (mode, data) in found.items() if stat.S_ISREG(mode) and data]

    def _do_flips(self, rng: random.Random) -> str:
        return flip(self.store / rng.choice(self.files), rng)

    def _do_cuts(self, rng: random.Random) -> str:
        return cut(self.store / rng.choice(self.files), rng)

    def _do_indexes(self, rng: random.Random) -> str:
        """Change an index that an entry names, or an entry."""
        name = rng.choice([n for n, e in self.entries.items() if any(o.tree for o in e.outputs)])
        if rng.random() < 0.25:
            name = rng.choice(list(self.entries))
            data = self._craft_entry(self.entries[name], rng)
        else:
            entry = self.entries[name]
            index, data = self._craft_result(entry, rng)
            path = self.store / blob_name(digest_bytes(index))
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(index)
        (self.store / name).write_bytes(data)
        return f"{name} is {data[-2000:]!r}"

    def _craft_result(self, entry: ActionEntry, rng: random.Random) -> tuple[bytes, bytes]:
        """Return a malformed index, and an entry that names it instead of a tree's."""
        at = rng.choice([i for i, output in enumerate(entry.outputs) if output.tree])
        old = self.stored[blob_name(entry.outputs[at].digest)][1]
        index = self._craft_index(json.loads(old), rng)
        fresh = replace(entry.outputs[at], digest=digest_bytes(index))
        outputs = (*entry.outputs[:at], fresh, *entry.outputs[at + 1 :])
        return index, write_entry(replace(entry, outputs=outputs))

    def _craft_index(self, rows: Any, rng: random.Random) -> bytes:
        """Return an index of a tree with one mistake."""
        row: list[Any] = list(rng.choice(rows)) if rows else ["a", 0, digest_bytes(b"")]
        action = rng.choice(
            ["name", "name", "size", "digest", "twice", "case", "order", "text", "shape", "inside"]
        )
        text = ""
        if action == "name":
            row[0] = rng.choice(self.names)
        elif action == "size":
            row[1] = rng.choice([n for n in _NUMBERS if n != row[1] or type(n) is not int])
        elif action == "digest":
            victim = str(self.root / "canary" / "victim")
            row[2] = rng.choice(
                ["", "..", victim, "../" * 9 + victim, "AB" * 32, row[2][:-1], row[2] + "0", 7]
            )
        rows = sorted([*(r for r in rows if r[0] != row[0]), row], key=str)
        if action == "twice":
            rows = sorted([*rows, row], key=str)
        elif action == "case":
            rows = sorted([*rows, [str(row[0]).upper(), *row[1:]]], key=str)
        elif action == "order":
            rows = sorted([*rows, ["zz", 0, digest_bytes(b"")]], key=str)[::-1]
        elif action == "shape":
            rows = rng.choice([{"a": rows}, [rows], [*rows, []], [*rows, [*row, 1]], 7, None, "x"])
        elif action == "inside":
            rows = sorted([*rows, [f"{row[0]}/below", 0, digest_bytes(b"")]], key=str)
        encoded = json.dumps(rows, separators=(",", ":"))
        text = encoded
        if action == "text":
            text = rng.choice(
                [
                    f" {encoded}",
                    f"{encoded}\n",
                    encoded.replace(",", ", "),
                    "[" * 20000,
                    encoded * 2,
                ]
            )
        data = text.encode("utf-8", "surrogatepass")
        return b"\xef\xbb\xbf" + data if rng.random() < 0.1 else data

    def _craft_entry(self, entry: ActionEntry, rng: random.Random) -> bytes:
        """Return a record with a correct digest, and one wrong value."""
        value: dict[str, Any] = plain(entry)
        output = rng.choice(value["outputs"])
        action = rng.choice(
            [
                "format",
                "key",
                "digest",
                "tree",
                "name",
                "seconds",
                "more",
                "less",
                "outputs",
                "text",
            ]
        )
        if action == "format":
            value["format"] = rng.choice([0, 2, 1.0, "1", None, True, 1 << 70])
        elif action == "key":
            value["key"] = rng.choice(["0" * 64, "../x", ""])
        elif action == "digest":
            output["digest"] = rng.choice(["../../../../canary/victim", "", "F" * 64, "0" * 64, 7])
        elif action == "tree":
            output["tree"] = rng.choice([not output["tree"], 1, None])
        elif action == "name":
            output["name"] = rng.choice([*self.names, 7, None])
        elif action == "seconds":
            value["seconds"] = rng.choice([-1, "1", None, [], float("nan"), 1e400])
        elif action == "more":
            value["more"] = 1
        elif action == "less":
            del value[rng.choice(list(value))]
        elif action == "outputs":
            value["outputs"] = rng.choice([[], {}, None, value["outputs"] * 2, [["a", "0" * 64]]])
        data = write_record(value)
        return canonical(value).encode() if action == "text" else data

    def _do_places(self, rng: random.Random) -> str:
        """Put a link, a pipe or a folder where a file or a folder of the store belongs."""
        parents = [str(parent) for n in self.files for parent in Path(n).parents]
        above = [name for name in dict.fromkeys(parents) if name != "."]
        name = rng.choice([*self.files, *above, "tmp", "locks", "workspaces", "gc.lock"])
        if rng.random() < 0.15:
            name = f"locks/{Path(rng.choice(list(self.entries))).stem}"
        path = self.store / name
        if path.is_dir():
            shutil.rmtree(path)
        path.unlink(missing_ok=True)
        path.parent.mkdir(parents=True, exist_ok=True)
        kind = rng.choice(
            ["link", "link", "folder link", "loop", "dangling", "pipe", "folder", "hard"]
        )
        if kind == "link":
            path.symlink_to(self.root / "canary" / "victim")
        elif kind == "folder link":
            path.symlink_to(self.root / "canary")
        elif kind == "loop":
            path.symlink_to(path.name)
        elif kind == "dangling":
            path.symlink_to(self.root / "canary" / "made")
        elif kind == "pipe":
            os.mkfifo(path)
        elif kind == "folder":
            (path / "below").mkdir(parents=True)
        else:
            os.link(self.root / "canary" / "victim", path)
        return f"{kind} at {name}"

    def _members(self) -> list[Member]:
        """Return the members of the exported archive; those of each kind in the order of `files`."""
        with tarfile.open(fileobj=io.BytesIO(self.exported)) as archive:
            found = [(m, archive.extractfile(m).read()) for m in archive.getmembers()]  # type: ignore[union-attr]
        kinds = list(dict.fromkeys(info.name.partition("/")[0] for info, _ in found))
        places = {name: place for place, name in enumerate(self.files)}

        def place(member: Member) -> tuple[int, int, str]:
            name = member[0].name
            return kinds.index(name.partition("/")[0]), places.get(name, len(places)), name

        return sorted(found, key=place)

    def _do_archives(self, rng: random.Random) -> str:
        """Import a malformed archive into an empty store."""
        what, data = self._craft_archive(rng)
        self.archive.write_bytes(data)
        shutil.rmtree(self.store)
        self.command("store", "import", str(self.archive))
        return what

    def _craft_archive(self, rng: random.Random) -> tuple[str, bytes]:
        action = rng.choice([*OF_MEMBERS, "index", *OF_BYTES])
        return action, self.craft(action, rng)

    def craft(self, action: str, rng: random.Random) -> bytes:
        """Return the exported archive with one change; `action`: a key of OF_MEMBERS or OF_BYTES."""
        members = self._members()
        archive = Archive(members, rng.randrange(1, len(members)))
        if action in OF_MEMBERS:
            OF_MEMBERS[action](self, archive, rng)
        packed = _pack(archive.members, archive.form)
        return OF_BYTES[action](packed, rng) if action in OF_BYTES else packed

    def _craft_name(self, archive: Archive, rng: random.Random) -> None:
        info = archive.info
        info.name = rng.choice(
            [
                *self.names,
                info.name.upper(),
                f"./{info.name}",
                f"{info.name}/",
                f"/{info.name}",
                info.name.replace("/", "//"),
                "blobs/aa/" + "٣" * 64,
            ]
        )
        archive.form = rng.choice([tarfile.PAX_FORMAT, tarfile.GNU_FORMAT])

    def _craft_kind(self, archive: Archive, rng: random.Random) -> None:
        info, members = archive.info, archive.members
        info.type = rng.choice([bytes([n]) for n in b"123456789LKxgSDVZ"])
        info.linkname = rng.choice(
            [str(self.root / "canary" / "victim"), "../../x", members[1][0].name]
        )
        if info.type in b"xgLK":
            members[archive.at] = (info, b"30 path=../../../canary/victim\n")

    def _craft_bytes(self, archive: Archive, rng: random.Random) -> None:
        info, data = archive.members[archive.at]
        data = rng.choice([b"", data[:-1], data + b"!", bytes(len(data)), data[::-1] + b"0"])
        archive.members[archive.at] = (info, data)

    def _craft_twice(self, archive: Archive, rng: random.Random) -> None:
        archive.members.append(archive.members[archive.at])

    def _craft_gone(self, archive: Archive, rng: random.Random) -> None:
        del archive.members[archive.at]
        self._count(archive, rng)

    def _craft_more(self, archive: Archive, rng: random.Random) -> None:
        archive.members.append((tarfile.TarInfo(blob_name(digest_bytes(b"x"))), b"x"))
        self._count(archive, rng)

    def _count(self, archive: Archive, rng: random.Random) -> None:
        """Mostly, make the header match the members."""
        if rng.random() < 0.7:
            archive.members[0] = self._header(archive.members)

    def _craft_pax(self, archive: Archive, rng: random.Random) -> None:
        key = rng.choice(["path", "linkpath", "size", "uid", "mtime", "GNU.sparse.size"])
        value = rng.choice([*map(str, _NUMBERS), "../../x", "9" * 400])
        archive.info.pax_headers = {key: value}

    def _craft_order(self, archive: Archive, rng: random.Random) -> None:
        rest = archive.members[1:]
        rng.shuffle(rest)
        archive.members[1:] = rest

    def _craft_header(self, archive: Archive, rng: random.Random) -> None:
        info, data = archive.members[0]
        value = json.loads(data)
        name = rng.choice([*value, "more"])
        value[name] = rng.choice(_NUMBERS)
        strange = [b"", b"{", b"[" * 9999, b'{"format":2,"format":2}', b"\xff", b" " * (2 << 20)]
        data = json.dumps(value).encode() if rng.random() < 0.8 else rng.choice(strange)
        archive.members[0] = (info, data)

    def _craft_crafted_index(self, archive: Archive, rng: random.Random) -> None:
        """Add a malformed index, an entry that names it, and a matching header."""
        name = rng.choice([n for n, e in self.entries.items() if any(o.tree for o in e.outputs)])
        index, data = self._craft_result(self.entries[name], rng)
        self._exchange(archive, name, data)
        archive.members.append((tarfile.TarInfo(blob_name(digest_bytes(index))), index))
        archive.members[0] = self._header(archive.members)

    def _craft_crafted_entry(self, archive: Archive, rng: random.Random) -> None:
        """Add a malformed entry, and a matching header."""
        name = rng.choice(list(self.entries))
        self._exchange(archive, name, self._craft_entry(self.entries[name], rng))
        archive.members[0] = self._header(archive.members)

    def _exchange(self, archive: Archive, name: str, data: bytes) -> None:
        """Replace the content of an entry, which becomes the last member."""
        member = action_name(Path(name).stem)
        archive.members = [each for each in archive.members if each[0].name != member]
        archive.members.append((tarfile.TarInfo(member), data))

    def _header(self, members: list[Member]) -> Member:
        value = json.loads(members[0][1])
        for kind in ("actions", "blobs"):
            value[kind] = sum(info.name.startswith(kind) for info, _ in members)
        return members[0][0], json.dumps(value).encode()

    def _do_datasets(self, rng: random.Random) -> str:
        """Unpack a malformed archive of a dataset: all its files, below its folder, or an error."""
        rows = [("images/a.jpg", b"a"), ("labels/a.txt", b"0 1"), ("data.yaml", b"names: [a]")]
        for _ in range(rng.choice([1, 1, 3])):
            name = rng.choice(
                [
                    *self.names,
                    "IMAGES/a.jpg",
                    "images/a.jpg",
                    "images",
                    "images/a.jpg/b",
                    "é",
                    "e\u0301",
                ]
            )
            rows.insert(rng.randrange(len(rows) + 1), (name, rng.choice([b"", b"x" * 5000])))
        if rng.random() < 0.5:
            data = _zip(rows, rng)
        else:
            members = [(tarfile.TarInfo(name), content) for name, content in rows]
            for info, _ in members:
                if rng.random() < 0.2:
                    info.type = rng.choice([bytes([n]) for n in b"1234567SDxgLK"])
                    info.linkname = str(self.root / "canary" / "victim")
            form = rng.choice([tarfile.PAX_FORMAT, tarfile.GNU_FORMAT])
            data = _pack(members, form)
            if rng.random() < 0.5:
                data = _compressed(data, rng)
        if rng.random() < 0.4:
            bits = bytearray(data)
            bits[rng.randrange(len(bits))] ^= 1 << rng.randrange(8)
            data = bytes(bits)
        self.archive.write_bytes(data)
        target = self.deep / "cache" / "unpacked"
        shutil.rmtree(target, ignore_errors=True)
        try:
            tree = unpack(self.archive, target)
        except InputError as error:
            _require(str(error), "an error without a word")
            _require(not target.exists(), "half of an archive")
            self.said = str(error)
        else:
            found = {
                n: digest_bytes(c) for n, (m, c) in snapshot(target).items() if stat.S_ISREG(m)
            }
            _require(found == {file.name: file.digest for file in tree}, "other files than it says")
            self.said = f"unpacked {sorted(found)}"
        return f"{[name for name, _ in rows]}"


def _require(fine: object, what: object) -> None:
    if not fine:
        raise AssertionError(what)


def _pack(members: list[Member], form: int) -> bytes:
    """Return a tar with these members, as far as tarfile can write them."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=form) as archive:
        for info, data in members:
            info.size = len(data)
            with contextlib.suppress(ValueError, UnicodeError):
                archive.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


def _zip(rows: list[tuple[str, bytes]], rng: random.Random) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(
        buffer, "w", rng.choice([zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
    ) as out:
        for name, data in rows:
            info = zipfile.ZipInfo("x")
            info.filename = name
            kind = rng.choice([0, 0, 0, stat.S_IFREG, stat.S_IFLNK, stat.S_IFIFO, stat.S_IFBLK])
            info.external_attr = (kind | 0o777) << 16
            with contextlib.suppress(ValueError, UnicodeError), _no_warning():
                out.writestr(info, data)
    return buffer.getvalue()


@contextlib.contextmanager
def _no_warning() -> Any:
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _compressed(data: bytes, rng: random.Random) -> bytes:
    import bz2
    import gzip
    import lzma

    packs: list[Callable[[bytes], bytes]] = [gzip.compress, bz2.compress, lzma.compress]
    return rng.choice(packs)(data)


def _with_other_size(packed: bytes, rng: random.Random) -> bytes:
    """Return a tar with another size in one header, whose checksum is correct."""
    with tarfile.open(fileobj=io.BytesIO(packed)) as archive:
        offset = rng.choice([member.offset for member in archive.getmembers()])
    head = bytearray(packed[offset : offset + 512])
    head[124:136] = rng.choice(
        [b"00000000000\0", b"77777777777\0", b"\x80" + b"\xff" * 11, b"-0000000001\0"]
    )
    head[148:156] = b" " * 8
    head[148:156] = f"{sum(head):06o}\0 ".encode()
    return packed[:offset] + bytes(head) + packed[offset + 512 :]


def _flipped(packed: bytes, rng: random.Random) -> bytes:
    bits = bytearray(packed)
    for _ in range(rng.choice([1, 1, 10])):
        bits[rng.randrange(len(bits))] ^= 1 << rng.randrange(8)
    return bytes(bits)


def _cut_off(packed: bytes, rng: random.Random) -> bytes:
    return packed[: rng.randrange(len(packed))]


OF_MEMBERS: dict[str, Callable[[Fuzzer, Archive, random.Random], None]] = {
    "name": Fuzzer._craft_name,
    "kind": Fuzzer._craft_kind,
    "bytes": Fuzzer._craft_bytes,
    "twice": Fuzzer._craft_twice,
    "gone": Fuzzer._craft_gone,
    "more": Fuzzer._craft_more,
    "pax": Fuzzer._craft_pax,
    "order": Fuzzer._craft_order,
    "header": Fuzzer._craft_header,
    "index": Fuzzer._craft_crafted_index,
    "entry": Fuzzer._craft_crafted_entry,
}
"""What is done to the members of an archive before they are packed."""
OF_BYTES: dict[str, Callable[[bytes, random.Random], bytes]] = {
    "size": _with_other_size,
    "flip": _flipped,
    "cut": _cut_off,
    "packed": _compressed,
}
"""What is done to a packed archive."""


if __name__ == "__main__":
    sys.exit(fuzz(__doc__, KINDS, Fuzzer))
