"""Damages what a workspace remembers, what people commit, and what was published, and looks what a run
makes of it.

A small workspace is built once with tools that only pretend. Then, case by case, one thing is damaged:
a field of buildsys.lock (`lock`), pages of state.sqlite (`pages`), one bit (`flips`) or the end
(`cuts`) of any file below .buildsys, or a FIFO, a folder or a link is in its place (`places`); one
bit, the end or anything else of a published file (`package-flips`, `package-cuts`, `package-edits`).
`buildsys build` runs over it, in this process, over a workspace in which everything is settled, or
nothing, or whose build/ is gone. A finding is a wrong file in build/, a changed file anywhere else, a
traceback, an exit code without a sentence, a build that is only `not finished`, a published folder
that is not whole again or was changed without a line about it, or a run that takes too long.

    python benchmarks/fuzz_state.py [--kinds lock pages flips cuts] [--count 1000] [--seed 0] [--jobs 2]
    python benchmarks/fuzz_state.py --kinds pages --only 17     # one case, what it damages and what is said
"""

import contextlib
import io
import json
import os
import random
import re
import shutil
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(REPOSITORY))

from benchmarks.fuzzing import fuzz, problem_in  # noqa: E402
from buildsys import cli  # noqa: E402
from buildsys.errors import InputError  # noqa: E402
from buildsys.lockfile import read_lock  # noqa: E402
from tests import processes  # noqa: E402
from tests.damage import cut, flip  # noqa: E402

KINDS = (
    "lock",
    "pages",
    "flips",
    "cuts",
    "places",
    "package-flips",
    "package-cuts",
    "package-edits",
)
MODES = ("settled", "unsettled", "gone")
_SECONDS = 60.0
_PLACE = re.compile(r"buildsys\.lock:[0-9]+:[0-9]+: error: ")
_REFUSED = re.compile(
    r"is a symbolic link to|is a folder|a regular file|Is a directory: |cannot be written: "
)
_VALUES: tuple[object, ...] = (
    "../victim.txt",
    "/etc/passwd",
    "",
    "\x00",
    "a\nb",
    "\udc80",
    "A" * 64,
    "0" * 63,
    "0" * 64,
    "\u0660" * 64,
    -1,
    0,
    1 << 64,
    1.5,
    1e400,
    True,
    None,
    [],
    ["../x"],
    [["train", ["/etc"]]],
    {},
    {"a": 1},
)


class Fuzzer:
    """A built workspace below `root`, and numbered cases that damage it."""

    def __init__(self, seed: int, root: Path, place: Path) -> None:
        """`place`: a workspace below `root` in which everything can be built here."""
        self.seed, self.root, self.place, self.said = seed, root, place, ""
        for path in (root / "victim.txt", root / "store" / "blobs" / "victim.txt"):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("mine")
        self._settle()
        self.expected = processes.shipped(self.place)
        self.manifests = self._manifests()
        self.given = self._given()

    def case(self, kind: str, number: int, modes: Sequence[str] = MODES) -> tuple[str, str]:
        """Run one case; return what it damaged, and what is wrong with the result ("" if nothing is)."""
        rng = random.Random(f"{self.seed} {kind} {number}")
        unfit = {"lock": "settled", "package": "gone"}.get(kind.partition("-")[0])
        mode = rng.choice([mode for mode in modes if mode != unfit])
        what = f"{mode}: {getattr(self, '_damage_' + kind.replace('-', '_'))(rng)}"
        if mode != "settled" and not (self.place / ".buildsys" / "settled.json").is_dir():
            (self.place / ".buildsys" / "settled.json").unlink(missing_ok=True)
        if mode == "gone":
            shutil.rmtree(self.place / "build")
        problem = problem_in(lambda: self._look(kind, mode), _SECONDS)
        try:
            said = self.said
            self._restore()
            self.said = said
        except (OSError, SystemExit) as error:  # it could not be mended by hand, either
            problem = problem or f"afterwards: {error}"
        return what, problem

    def _look(self, kind: str, mode: str) -> str:
        code = self.run()
        wrong = self._misprinted(code, self.said, kind) or self._wrong_files(code, mode)
        if kind.startswith("package") and not wrong:
            wrong = self._wrong_package(self.said)
        return wrong

    def run(self) -> int:
        """Run `buildsys build` and return its exit code; `said` is its output."""
        printed = io.StringIO()
        try:
            with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed):
                return cli.main(["-C", str(self.place), "build"])
        finally:
            self.said = printed.getvalue()

    def _misprinted(self, code: int, text: str, kind: str) -> str:
        if "Traceback" in text:
            return "a traceback"
        if "not finished" in text:
            return "only `not finished`"
        if code == 0 or (kind == "places" and code in (1, 2) and _REFUSED.search(text)):
            return ""
        try:
            read_lock(self.place / "buildsys.lock")
        except InputError:
            return (
                "" if code == 2 and kind == "lock" and _PLACE.search(text) else f"exit code {code}"
            )
        return f"exit code {code}"

    def _wrong_package(self, text: str) -> str:
        """Return which files in build/ differ from the published ones, or that no message told of damage."""
        found = self._packages()
        if found.keys() != self.packages.keys():
            return f"in build/: {found.keys() ^ self.packages.keys()}"
        diary = {name for name in found if name.endswith("/build.json")}
        other = [name for name in found.keys() - diary if found[name] != self.packages[name]]
        if other:
            return f"not as it was published: {other}"
        for name in diary:
            json.loads((self.place / "build" / name).read_bytes())
        said = "published again" in text or "is not part of what was published" in text
        return "" if said or not self.damaged else "nothing was said"

    def _packages(self) -> dict[str, str]:
        """Return permissions and digest of each published file, and the target of each link."""
        found = {}
        for path in (self.place / "build").glob("[!.]*/*/**/*"):
            if path.is_symlink():
                found[str(path.relative_to(self.place / "build"))] = f"link {os.readlink(path)}"
            elif not path.is_dir():
                text = f"{path.stat().st_mode:o} {processes.digest(path) if path.is_file() else ''}"
                found[str(path.relative_to(self.place / "build"))] = text
        return found

    def _wrong_files(self, code: int, mode: str) -> str:
        found = processes.shipped(self.place)
        wanted = self.expected
        if code and mode == "gone":  # some builds may be back
            wanted = {name: digest for name, digest in wanted.items() if name in found}
        names = {name for name in wanted.keys() | found if wanted.get(name) != found.get(name)}
        if not code:
            names -= {name for name in names if self._differs_in_training(name)}
        names -= {name for name in names if name.startswith(".kept/")}  # what was added
        if names:
            return f"wrong in build/: {', '.join(sorted(names))}"
        changed = {
            name for name, what in self._given().items() if self.given.get(name, what) != what
        } | (self.given.keys() - self._given().keys())
        return f"touched: {', '.join(sorted(changed))}" if changed else ""

    def _differs_in_training(self, name: str) -> bool:
        """Return whether a file may differ: a manifest in a training, which repeats what buildsys.lock
        records of it, or a missing curve.
        """
        if "/training/" in name:  # curves, which a lock need not know
            lock = self.place / "buildsys.lock"
            return (
                lock.read_bytes() != self.kept[lock] and not (self.place / "build" / name).exists()
            )
        return name in self.manifests and self._manifests().get(name) == self.manifests[name]

    def _manifests(self) -> dict[str, Any]:
        found = {}
        for path in (self.place / "build").rglob("manifest.json"):
            data = json.loads(path.read_bytes())
            data["steps"] = [
                step for step in data["steps"] if not step["module"].startswith("train")
            ]
            found[str(path.relative_to(self.place / "build"))] = data
        return found

    def _given(self) -> dict[str, str]:
        """Return the digests of all files that no run may change: inputs, other files, blobs."""
        found = {}
        for folder, folders, names in os.walk(self.root):
            inside, ours = Path(folder), {"buildsys.lock"} if Path(folder) == self.place else set()
            if inside == self.place:
                folders[:] = [name for name in folders if name not in (".buildsys", "build")]
            if inside == self.root / "store":
                folders[:] = ["blobs"]
            for name in names:
                if name not in ours and not name.startswith((".doit", "summary")):
                    path = inside / name
                    found[str(path.relative_to(self.root))] = processes.digest(path)
        return found

    def _settle(self) -> None:
        """Build until a run reads no file again, and keep the state of the workspace."""
        for _ in range(3):
            time.sleep(0.06)  # what was written this very moment is looked at again
            if self.run():
                raise SystemExit(self.said)
        self.kept = {
            path: path.read_bytes()
            for path in (self.place / ".buildsys").rglob("*")
            if path.is_file()
        }
        self.kept[self.place / "buildsys.lock"] = (self.place / "buildsys.lock").read_bytes()
        self.packages, self.damaged = self._packages(), False
        self.stats = self._stats()

    def _stats(self) -> dict[str, tuple[int, int]]:
        paths = [p for p in (self.place / "build").rglob("*") if p.name != "summary.json"]
        stats = [(str(path), path.lstat()) for path in paths if not path.is_dir()]
        return {path: (stat.st_ino, stat.st_ctime_ns) for path, stat in stats}

    def _restore(self) -> None:
        shutil.rmtree(self.place / "build" / ".kept", ignore_errors=True)
        for path in (self.place / ".buildsys").rglob("*"):
            if path.is_symlink() or (path not in self.kept and not path.is_dir()):
                path.unlink()
        for path, data in self.kept.items():
            if path.is_dir():
                shutil.rmtree(path)
            elif not path.is_file():
                path.unlink(missing_ok=True)
            if not path.is_file() or path.read_bytes() != data:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(data)
        if self._stats() != self.stats:
            self._settle()

    def _damage_lock(self, rng: random.Random) -> str:
        path = self.place / "buildsys.lock"
        lines = path.read_text().splitlines()
        index = rng.randrange(1, len(lines))
        key, _, text = lines[index].partition(" {")
        fields = json.loads("{" + text)
        name = rng.choice(list(fields))
        action = rng.choice(["value"] * 6 + ["gone", "more", "twice", "character", "key", "line"])
        if action == "value":
            fields[name] = rng.choice(_VALUES)
        elif action == "gone":
            del fields[name]
        elif action == "more":
            fields[rng.choice(["more", "", "checkpoint", "digest", "\udc80"])] = rng.choice(_VALUES)
        line = f"{key} {json.dumps(fields)}"
        if action == "twice":
            line += f"\n{line}" if rng.random() < 0.5 else ""
            line = line.replace('{"', f'{{"{name}": 1, "', 1) if "\n" not in line else line
        elif action == "character":
            at = rng.randrange(len(line))
            line = (
                line[:at] + chr(rng.choice([0, 10, 34, 44, 123, 125, 233, 8232])) + line[at + 1 :]
            )
        elif action == "key":
            line = f"{rng.choice(['', 'x', 'training a b', 'dataset', 'model /'])} {json.dumps(fields)}"
        elif action == "line":
            line = rng.choice(["<<<<<<< HEAD", "=======", "{}", "[]", line[: len(line) // 2], "\0"])
        path.write_text("\n".join([*lines[:index], line, *lines[index + 1 :]]) + "\n")
        return f"line {index + 1} is {line[:300]!r}"

    def _damage_pages(self, rng: random.Random) -> str:
        path = self.place / ".buildsys" / "state.sqlite"
        data = bytearray(path.read_bytes())
        pages = len(data) // 4096
        done = []
        for _ in range(rng.choice([1, 1, 1, 2, 5])):
            page = rng.randrange(pages)
            at = page * 4096
            action = rng.choice(["noise", "zeros", "copy", "head", "bytes", "schema"])
            if action == "noise":
                data[at : at + 4096] = rng.randbytes(4096)
            elif action == "zeros":
                data[at : at + 4096] = bytes(4096)
            elif action == "copy":
                other = rng.randrange(pages) * 4096
                data[at : at + 4096] = data[other : other + 4096]
            elif action == "head":
                data[at + rng.randrange(12)] = rng.randrange(256)
            elif action == "bytes":
                for _ in range(rng.choice([1, 10, 100])):
                    data[at + rng.randrange(4096)] = rng.randrange(256)
            else:
                data[rng.randrange(100)] = rng.randrange(256)
            done.append(f"{action} in page {page}")
        path.write_bytes(data)
        return ", ".join(done)

    def _file(self, rng: random.Random) -> Path:
        kept = {p: d for p, d in self.kept.items() if d and p != self.place / "buildsys.lock"}
        records = sorted(path for path in kept if path.suffix != ".log")
        logs = sorted(kept.keys() - records, key=kept.__getitem__)  # names change with every commit
        # Logs are many, and only read.
        return rng.choice(records if rng.random() < 0.9 else [*records, *logs])

    def _damage_flips(self, rng: random.Random) -> str:
        return flip(self._file(rng), rng)

    def _damage_places(self, rng: random.Random) -> str:
        path = self._file(rng)
        path.unlink()
        kind = rng.choice(["FIFO", "folder", "link to itself", "link outside", "link to /dev/zero"])
        if kind == "FIFO":
            os.mkfifo(path)
        elif kind == "folder":
            path.mkdir()
            (path / "file").write_text("x")
        else:
            places = {"link to itself": path, "link outside": self.root / "victim.txt"}
            path.symlink_to(places.get(kind, Path("/dev/zero")))
        return f"{path.relative_to(self.place)} is a {kind}"

    def _damage_cuts(self, rng: random.Random) -> str:
        return cut(self._file(rng), rng)

    def _published(self, rng: random.Random) -> Path:
        names = [name for name, what in self.packages.items() if not what.startswith("link")]
        self.damaged = True
        return self.place / "build" / rng.choice(sorted(names))

    def _damage_package_flips(self, rng: random.Random) -> str:
        return flip(self._published(rng), rng)

    def _damage_package_cuts(self, rng: random.Random) -> str:
        return cut(self._published(rng), rng)

    def _damage_package_edits(self, rng: random.Random) -> str:
        path = self._published(rng)
        action = rng.choice(
            ["gone", "mode", "link", "pipe", "folder", "dated", "swapped", "more", "touched"]
        )
        data, status = path.read_bytes(), path.stat()
        if action in ("gone", "link", "pipe", "folder"):
            path.unlink()
        if action == "mode":
            path.chmod(status.st_mode ^ rng.choice([0o200, 0o111, 0o006, 0o4000]))
        elif action == "link":
            (self.root / "elsewhere").write_bytes(data)
            path.symlink_to(self.root / "elsewhere")
        elif action == "pipe":
            os.mkfifo(path)
        elif action == "folder":
            path.mkdir()
            (path / "inside").write_bytes(data)
        elif action == "dated":  # as it was by size and time, and not by content
            path.write_bytes(bytes(byte ^ 1 for byte in data))
            os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
        elif action == "swapped":
            other = self._published(rng)
            path.rename(path.with_name("x"))
            if other != path:
                other.rename(path)
            path.with_name("x").rename(other)
            self.damaged = data != path.read_bytes()
        elif action == "more":
            path.with_name(rng.choice(["notes.txt", ".hidden", "manifest.json.bak"])).touch()
        elif action == "touched":
            path.write_bytes(data)
            self.damaged = False
        return f"{path.relative_to(self.place)}: {action}"


def prepare(root: Path) -> None:
    """Let this process find every program, and keep its store and environments below `root`."""
    from buildsys.execution.tools import host_tools

    host_tools.find_program = lambda name: name
    os.environ |= {
        "BUILDSYS_STORE": str(root / "store"),
        "XDG_CACHE_HOME": str(root / "cache"),
        "BUILDSYS_REPORT": "none",
        "BUILDSYS_ISOLATION": "none",
    }


def make(seed: int, root: Path) -> Fuzzer:
    """Return a fuzzer with its own workspace; changes the environment of this process."""
    prepare(root)
    return Fuzzer(seed, root, processes.make_place(root, seconds=0.0, boards=2))


if __name__ == "__main__":
    sys.exit(fuzz(__doc__, KINDS, make))
