"""Recipes, targets, contracts and data.yaml that are nearly right, through the real `check`.

Only messages may come out: no traceback, no hang, every message printable, its line and column
inside the file that it names. Case N of seed S is the same everywhere; `--only N` repeats it, and
`--first N` goes on where an earlier run stopped.

    python benchmarks/fuzz_recipes.py [--count 1000000] [--first 0] [--seed 0] [--jobs 2] [--only N]
                                      [--keep FOLDER]
"""

import argparse
import contextlib
import io
import random
import re
import resource
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

REPOSITORY = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(REPOSITORY))

from benchmarks.fuzzing import make_parser, problem_in, run_jobs  # noqa: E402
from buildsys import cli  # noqa: E402
from tests.authoring.mutations import Mutator  # noqa: E402
from tests.authoring.sample_workspace import (  # noqa: E402
    GIVEN,
    ONNX,
    TAGS_SHA256,
    TFLITE,
    TRAINED,
    Data,
    make_workspace,
    write_data,
)

_BATCH = 200
_SECONDS = 10.0
_MORE_SECONDS = 0.2
_MEMORY = 4 << 30
_PLACE = re.compile(r"(.+?)(?::(\d+):(\d+))?: (?:error|warning): .")

_SWEEP = """\
extends: _pose
matrix:
  input.size: [160, 192]
  quantization.granularity: [per-tensor, per-channel]
  task: {detect: {source: {task: detect}}, pose: {}}
select: {maximize: box.mAP50-95}
targets: [grove-vision-ai-v2, {target: host, as: half, quantization: {scheme: float16}}]
"""
_DRAWN = """\
source: {family: ultralytics, task: detect, architecture: yolov8n, weights: random}
dataset: {generator: fiducials, train: 24, val: 12, seed: 5, size: 128, sides: uniform}
input: {size: [96, 128], color: rgb, resize: letterbox}
train: {epochs: 1, batch: 8, seed: 3, size: 96, learning_rate: 0.0002, mosaic: 0.5, threads: 2, device: cpu}
export: {opset: 13, head: raw}
evaluate: {split: val, gates: {box.mAP50: {min: 0.1}}}
targets: [checkpoint, {target: host, quantization: {scheme: dynamic-range}}]
"""
_FETCHED = f"""\
source: {{family: onnx, task: detect, weights: {{url: "https://example.org/m.onnx", sha256: {"0" * 64}}}, decoder: yolov8-raw, classes: [a, b]}}
dataset: {{url: "https://example.org/d.zip", sha256: {"1" * 64}, split: {{val: 0.2, seed: 0}}}}
input: {{size: 64}}
evaluate: none
targets: [host]
"""
_RECIPES = (TRAINED, GIVEN, TFLITE, ONNX, _SWEEP, _DRAWN, _FETCHED)
_TARGET = """\
label: A board of one's own
pipelines: {int8: [convert_tflite, compile_vela, package_flash], float32: [convert_tflite, package_files]}
vela: {version: "4.5", accelerator: ethos-u55-64, config: own.ini, system_config: A, memory_mode: B}
firmware: {pose: sscma-1.0-pose, detect: unchecked}
flash: {method: xmodem}
"""
_INI = "[System_Config.A]\na=1\n[Memory_Mode.B]\nb=2\n"
_CONTRACT = """\
label: A firmware of one's own
task: pose
head: raw
output_order: [box8, class8, box16, class16, box32, class32, keypoints]
classes: 1
refused_classes: [4]
keypoint_values: 12
keypoint_dims: 3
square: true
io: int8
operators: [SOFTMAX, TRANSPOSE]
arena_kib: 1110
source: nowhere
verified: false
notes: [one, two]
"""
_DATA = """\
path: .
train: images/train
val: [images/val]
names: {0: tag}
kpt_shape: [4, 3]
kpt_oks_sigmas: [0.1, 0.1, 0.1, 0.1]
flip_idx: [1, 0, 3, 2]
"""
_USER = (
    "{source: {family: ultralytics, task: pose, weights: {path: weights/tags.pt, sha256: "
    f"{TAGS_SHA256}}}}}, dataset: {{path: data/tags/data.yaml}}, input: {{size: 192}}, quantization:"
    " {scheme: int8, calibration: {split: train, count: 9}}, targets: [TARGET], name: NAME}\n"
)


class Kind(NamedTuple):
    """A kind of file.

    `place`: its path; `share`: its share of all cases; `texts`: correct files to start from; `recipe`:
    one that uses the file, "" for a recipe.
    """

    place: str
    share: float
    texts: tuple[str, ...]
    recipe: str


def _kinds() -> tuple[Kind, ...]:
    shipped = [path.read_text() for path in sorted((REPOSITORY / "recipes").glob("*.yaml"))]
    boards = [path.read_text() for path in sorted((REPOSITORY / "targets").glob("*.yaml"))]
    firmware = sorted((REPOSITORY / "targets" / "firmware").glob("*.yaml"))
    own = tuple(f"name: NAME\n{text}" for text in _RECIPES)
    contracts = tuple(_rename(path.read_text()) for path in firmware)
    user = _USER.replace("TARGET", "{target: xiao-esp32s3, firmware: NAME}")
    return (
        Kind("recipes/NAME.yaml", 0.7, (*own, *own, *map(_rename, shipped)), ""),
        Kind(
            "targets/NAME.yaml",
            0.13,
            (f"name: NAME\n{_TARGET}", *map(_rename, boards)),
            _USER.replace("TARGET", "NAME"),
        ),
        Kind("targets/firmware/NAME.yaml", 0.07, (f"name: NAME\n{_CONTRACT}", *contracts), user),
        Kind(
            "data/NAME/data.yaml",
            0.1,
            (_DATA,),
            _USER.replace("data/tags", "data/NAME").replace("TARGET", "host"),
        ),
    )


def _rename(text: str) -> str:
    return re.sub(r"(?m)^name: .*", "name: NAME", text)


class Fuzzer:
    """Cases of one seed, checked in a workspace of its own."""

    def __init__(self, seed: int, folder: Path) -> None:
        self.seed, self.root = seed, make_workspace(folder)
        self.kinds = _kinds()
        self.mutators = [Mutator(list(kind.texts)) for kind in self.kinds]
        (self.root / "targets" / "firmware").mkdir(parents=True)
        (self.root / "targets" / "own.ini").write_text(_INI)
        base = _USER.replace("TARGET", "host")
        (self.root / "recipes" / "_pose.yaml").write_text(base.replace("NAME", "_pose"))

    def batch(self, numbers: list[int]) -> Iterator[tuple[int, str]]:
        """Yield (case, what is wrong) of all cases with a finding.

        They are checked together, and one by one only if something is wrong.
        """
        if self._check(numbers):
            for number in numbers:
                problem = self._check([number])
                if problem:
                    yield number, problem

    def write(self, number: int) -> list[Path]:
        """Write the files of one case and return their paths; the first file is the damaged one."""
        rng = random.Random(f"{self.seed}:{number}")
        (index,) = rng.choices(range(len(self.kinds)), [kind.share for kind in self.kinds])
        kind, name = self.kinds[index], f"case{number}"
        paths = [self.root / kind.place.replace("NAME", name)]
        if kind.place.startswith("data"):
            write_data(paths[0].parent, Data(classes=("tag",), keypoints=4))
        data = self.mutators[index].variant(rng).replace(b"NAME", name.encode())
        paths[0].write_bytes(data)
        if kind.recipe:
            paths.append(self.root / "recipes" / f"{name}.yaml")
            paths[1].write_text(kind.recipe.replace("NAME", name))
        return paths

    def _check(self, numbers: list[int]) -> str:
        """Check some cases; return what is wrong with the messages ("" if nothing is)."""
        paths = [path for number in numbers for path in self.write(number)]
        seconds = _SECONDS + _MORE_SECONDS * (len(numbers) - 1)
        try:
            return problem_in(self._look, seconds)
        finally:
            for path in paths:
                _remove(path)

    def _look(self) -> str:
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed):
            code = cli.main(["-C", str(self.root), "check"])
        return self._misprinted(code, printed.getvalue())

    def _misprinted(self, code: int, text: str) -> str:
        if code not in (0, 2):
            return f"exit code {code}: {text[-400:]}"
        lines = text.removesuffix("\n").split("\n")
        odd = [line for line in lines if not line.isprintable() or len(line) > 900]
        if odd:
            return f"not printable, or too long: {odd[0][:200]!r}"
        for line in lines:
            found = _PLACE.fullmatch(line) or _PLACE.match(line)
            if (
                found
                and not line.startswith(" ")
                and found[2]
                and not self._is_place(*found.groups())
            ):
                return f"no such place: {line}"
        return ""

    def _is_place(self, name: str, line: str, column: str) -> bool:
        path = next(p for p in (self.root / name, REPOSITORY / name) if p.is_file())
        text = path.read_bytes().decode("utf-8-sig", "replace")
        lines = re.split(r"\r\n|\r|\n", text)
        row = int(line)
        if row == len(lines) + 1:  # behind the last line
            return column == "1"
        return 1 <= row <= len(lines) and 1 <= int(column) <= len(lines[row - 1]) + 1


def work(job: int, options: argparse.Namespace) -> int:
    """Check every `jobs`-th batch; print findings, and progress; return the number of findings."""
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, _MEMORY))
    started, told, found, done = time.monotonic(), time.monotonic(), 0, 0
    with tempfile.TemporaryDirectory() as folder:
        fuzzer = Fuzzer(options.seed, Path(folder) / "workspace")
        end = options.first + options.count
        for first in range(options.first + job * _BATCH, end, options.jobs * _BATCH):
            numbers = list(range(first, min(first + _BATCH, end)))
            for number, problem in fuzzer.batch(numbers):
                found += 1
                print(f"case {number}: {problem}", flush=True)
                _keep(fuzzer, number, options.keep)
            done += len(numbers)
            if time.monotonic() - told > 60:
                told = time.monotonic()
                rate = done / (told - started)
                print(f"job {job}: {done} cases, {rate:.0f}/s, {found} wrong", flush=True)
    return found


def _keep(fuzzer: Fuzzer, number: int, folder: Path | None) -> None:
    paths = fuzzer.write(number)
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(paths[0], folder / f"{fuzzer.seed}-{number}.yaml")
    for path in paths:
        _remove(path)


def _remove(path: Path) -> None:
    shutil.rmtree(path.parent) if path.name == "data.yaml" else path.unlink()


def _only(options: argparse.Namespace) -> int:
    with tempfile.TemporaryDirectory() as folder:
        fuzzer = Fuzzer(options.seed, Path(folder) / "workspace")
        for path in fuzzer.write(options.only):
            print(f"{path.relative_to(fuzzer.root)}: {path.read_bytes()!r}")
            _remove(path)
        found = list(fuzzer.batch([options.only]))
    print(found[0][1] if found else "fine")
    return len(found)


def main() -> int:
    """Run all cases, or one with `--only`; return 0 if nothing was found, 1 otherwise."""
    parser = make_parser(__doc__, 1_000_000)
    parser.add_argument("--keep", type=Path)
    parser.add_argument("--first", type=int, default=0)
    options = parser.parse_args()
    if options.only is not None:
        return min(1, _only(options))
    started = time.monotonic()
    found = run_jobs(work, options)
    seconds = time.monotonic() - started
    print(
        f"{options.count} cases in {seconds:.0f} s, {options.count / seconds:.0f}/s: {found} wrong"
    )
    return min(1, found)


if __name__ == "__main__":
    sys.exit(main())
