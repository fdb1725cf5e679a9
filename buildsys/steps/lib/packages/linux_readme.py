"""Write the README.md of a package for an ARM Linux board: contents, how to run it, and what is not
verified.

The available wheels were found with `pip download --platform manylinux_2_27_aarch64
--only-binary=:all:` for each Python version and the packages in requirements.txt.
"""

from dataclasses import dataclass

from buildsys.escaping import code_cell, code_span, markdown, one_line
from buildsys.steps.lib.heads import meanings

_DECODED = ("detect", "pose", "classify")
"""Tasks that templates/linux/network.py decodes."""
_INTEGER = ("int8", "int16x8")


@dataclass(frozen=True, kw_only=True)
class Row:
    """An output of the file; `meaning` "": unknown."""

    name: str
    shape: tuple[int, ...]
    dtype: str
    meaning: str


@dataclass(frozen=True, kw_only=True)
class Described:
    """The facts for the text. `head` none: the outputs' meaning is unknown; `strides`: those of its
    cells.
    """

    name: str
    label: str
    file: str
    bytes: int
    sha256: str
    scheme: str
    task: str
    head: str
    measured: bool
    outputs: tuple[Row, ...]
    strides: tuple[int, ...]

    @property
    def decoded(self) -> bool:
        """Return whether detect.py decodes the outputs."""
        return self.task in _DECODED and self.head != "none"


def describe(package: Described) -> str:
    """Return the whole text."""
    parts = (
        _contents(package),
        _installing(),
        _looking(package),
        _decoding(package),
        _timing(package),
        _verified(package),
    )
    return "\n\n".join(part.strip() for part in parts) + "\n"


def _contents(package: Described) -> str:
    figures = (
        "\n| `metrics.json` | accuracy, as measured by the build |" if package.measured else ""
    )
    return f"""
# {markdown(package.name)} for {markdown(package.label)}

| File | What it is |
| --- | --- |
| {code_cell(package.file)} | the network, {markdown(package.scheme)}, {package.bytes:,} bytes, sha256 `{package.sha256}` |
| `detect.py` | prints and draws what it sees on a picture |
| `benchmark.py` | how long it takes |
| `network.py`, `vision.py`, `pictures.py`, `figures.py` | what both rest on: LiteRT around the file, and the arithmetic |
| `requirements.txt` | the Python packages that both need |
| `model.json`, `labels.txt` | task, head, input and outputs, classes, thresholds |
| `preprocessing.json` | how a photograph becomes the network's input |{figures}
| `manifest.json` | how all of it was made |

Copy the whole folder onto the board. The programs need nothing else of the build, and no network.
They are under the Apache License 2.0; the network is under the licence that `manifest.json` names."""


def _installing() -> str:
    return """
## Installing

On the board, in this folder:

    python3 -m venv .venv
    .venv/bin/python -m pip install -r requirements.txt

Where `venv` is missing, Debian and its kin have it as the package `python3-venv`. For 64-bit ARM the
Python index has wheels of all that is named there for Python 3.9, 3.10, 3.11, 3.12 and 3.13, on a
system with glibc 2.27 or newer; none of LiteRT 2.1.0 for Python 3.14."""


def _looking(package: Described) -> str:
    if not package.decoded:
        return f"""
## Looking at a picture

`detect.py` decodes {", ".join(_DECODED)}. What this network puts out ({markdown(package.task or "task")} with
the head {code_span(package.head)}) is for a program of your own: `detect.py` says so and ends with code 3."""
    keypoints = "\nKeypoints are in the JSON and in the drawing." if package.task == "pose" else ""
    whole = package.task == "classify"
    where = "" if whole else " at X,Y WIDTHxHEIGHT"
    pixels = "" if whole else ", in pixels of the photograph"
    return f"""
## Looking at a picture

    .venv/bin/python detect.py photo.jpg --draw seen.jpg

prints a line for each thing that it sees, best first{pixels}, or `photo.jpg: nothing`:

    photo.jpg: CLASS SCORE{where}

`--json` prints the same for programs, `--confidence`, `--iou` and `--threads` change what `--help`
says of them. LiteRT's own line about its XNNPACK delegate is no error.{keypoints} Exit codes: 0 done, 2 a picture or an option is wrong, 3 the package is not
whole or its model cannot be run, 4 a Python package is missing."""


def _decoding(package: Described) -> str:
    rows = "\n".join(
        f"| {code_cell(row.name)} | {' x '.join(map(str, row.shape))} | {markdown(row.dtype)} |"
        f" {markdown(row.meaning or 'not said')} |"
        for row in package.outputs
    )
    formula = meanings.tell_formula(package.head, package.task)
    order = meanings.tell_order(package.task, package.strides) if formula else ""
    reference = (
        "\n\n`vision.py` is the reference: padding, decoding, suppression of overlaps, and the way back"
        " into the\nphotograph, in numpy."
        if package.decoded
        else ""
    )
    blocks = "".join(f"\n\n{block}" for block in (order, formula) if block)
    return f"""
## Decoding it in a program of your own

Outputs, in the file's order, head {code_span(package.head)}:

| Output | Shape | Type | Meaning |
| --- | --- | --- | --- |
{rows}

`model.json` has the same, and the input, with scale and zero point where values are integers:
real = (value - zero point) * scale. `preprocessing.json` says how the input is made.{blocks}{reference}"""


def _timing(package: Described) -> str:
    picture = "photo.jpg " if package.decoded else ""
    return f"""
## Timing it

    .venv/bin/python benchmark.py {picture}--threads 4 --json board.json

prints mean, least, percentiles and most of 50 runs after 5 to warm up, in this form:

    {one_line(package.file)}, LiteRT VERSION, 4 threads, MACHINE
    50 runs after 5 to warm up, milliseconds:
    engine only: mean …, min …, p50 …, p90 …, p95 …, p99 …, max …

With a picture a second line is of the way from its file to detections. In the workspace,
`buildsys import-benchmark BUILD board.json --device NAME`, BUILD as `manifest.json` names it, takes
the figures of the engine into the report; they are tied to the file by its sha256."""


def _verified(package: Described) -> str:
    kernels = """
- that LiteRT's kernels on ARM round as they do on the machine of the build, where accuracy was measured
  with the same LiteRT and the kernels that it has by default (XNNPACK)"""
    return f"""
## Verified, and not

The programs are tested on x86-64 Linux with Python 3.11, in an environment made from
`requirements.txt` alone, against the build's own decoders; they were run there with 3.9, 3.10, 3.12
and 3.13, too. Not verified:

- anything on the board: none was attached{kernels if package.scheme in _INTEGER else ""}"""
