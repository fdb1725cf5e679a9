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
| `detect.py` | detects objects in images: prints and draws them |
| `benchmark.py` | measures the latency |
| `network.py`, `vision.py`, `pictures.py`, `figures.py` | modules of both programs: LiteRT, and the arithmetic |
| `requirements.txt` | the Python packages that both programs need |
| `model.json`, `labels.txt` | task, head, inputs and outputs, classes, thresholds |
| `preprocessing.json` | how an image becomes the network's input |{figures}
| `manifest.json` | how every file was made |

Copy the whole folder onto the board. The programs need no other files of the build, and no network
connection. They are under the Apache License 2.0; `manifest.json` names the licence of the network."""


def _installing() -> str:
    return """
## Install

On the board, in this folder:

    python3 -m venv .venv
    .venv/bin/python -m pip install -r requirements.txt

If `venv` is missing, install the package `python3-venv` (Debian, Ubuntu, Raspberry Pi OS). For 64-bit
ARM the Python package index has wheels of all requirements for Python 3.9, 3.10, 3.11, 3.12 and 3.13,
on a system with glibc 2.27 or newer. LiteRT 2.1.0 has no wheel for Python 3.14."""


def _looking(package: Described) -> str:
    if not package.decoded:
        return f"""
## Detect objects in an image

`detect.py` decodes the tasks {", ".join(_DECODED)}. It cannot decode the outputs of this network
({markdown(package.task or "task")} with the head {code_span(package.head)}): it prints that and ends with exit code 3. Decode them in
a program of your own."""
    keypoints = " Keypoints are in the JSON and in the drawing." if package.task == "pose" else ""
    whole = package.task == "classify"
    where = "" if whole else " at X,Y WIDTHxHEIGHT"
    pixels = "" if whole else ", in pixels of the image"
    return f"""
## Detect objects in an image

    .venv/bin/python detect.py photo.jpg --draw detections.jpg

prints one line per detection, best first{pixels}, or `photo.jpg: nothing`:

    photo.jpg: CLASS SCORE{where}

`--json` prints the same as JSON; `--help` describes `--confidence`, `--iou` and `--threads`.
LiteRT's line about its XNNPACK delegate is not an error.{keypoints}

Exit codes: 0 done, 2 an image or an option is wrong, 3 the package is incomplete or its model cannot
be run, 4 a Python package is missing."""


def _decoding(package: Described) -> str:
    rows = "\n".join(
        f"| {code_cell(row.name)} | {' x '.join(map(str, row.shape))} | {markdown(row.dtype)} |"
        f" {markdown(row.meaning or 'unknown')} |"
        for row in package.outputs
    )
    formula = meanings.tell_formula(package.head, package.task)
    order = meanings.tell_order(package.task, package.strides) if formula else ""
    reference = (
        "\n\n`vision.py` is the reference implementation in NumPy: padding, decoding, suppression of overlaps,"
        " and\nconversion back to pixels of the image."
        if package.decoded
        else ""
    )
    blocks = "".join(f"\n\n{block}" for block in (order, formula) if block)
    return f"""
## Decode the outputs in a program of your own

Outputs in file order, head {code_span(package.head)}:

| Output | Shape | Type | Meaning |
| --- | --- | --- | --- |
{rows}

`model.json` also lists them, and the input, with scale and zero point for integers:
real = (value - zero point) * scale. `preprocessing.json` describes how to make the input.{blocks}{reference}"""


def _timing(package: Described) -> str:
    picture = "photo.jpg " if package.decoded else ""
    return f"""
## Measure the latency

    .venv/bin/python benchmark.py {picture}--threads 4 --json board.json

prints mean, minimum, percentiles and maximum of 50 runs after 5 warm-up runs, in this form:

    {one_line(package.file)}, LiteRT VERSION, 4 threads, MACHINE
    50 runs after 5 warm-up runs, milliseconds:
    engine only: mean …, min …, p50 …, p90 …, p95 …, p99 …, max …

With an image, a second line has the time from the image file to detections. In the workspace,
`buildsys import-benchmark BUILD board.json --device NAME` adds the engine's figures to the report;
BUILD is named in `manifest.json`. The sha256 ties the figures to the model file."""


def _verified(package: Described) -> str:
    kernels = """
- that LiteRT's kernels on ARM round as on the build machine, where accuracy was measured with the same
  LiteRT version and its default kernels (XNNPACK)"""
    return f"""
## What is verified

The programs are tested on x86-64 Linux with Python 3.11, in an environment with only the packages of
`requirements.txt`, against the build's own decoders; they were also run there with 3.9, 3.10, 3.12 and
3.13. Not verified:

- the package on the board: no board was attached{kernels if package.scheme in _INTEGER else ""}"""
