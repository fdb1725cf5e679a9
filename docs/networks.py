"""The table of networks for docs/reference/networks.md: what `check` says of each on each kind of target."""

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from buildsys.authoring.recipes.families import networks
from buildsys.authoring.recipes.loader import Loader, Unwritten
from buildsys.authoring.targets.lookup import Boards
from buildsys.lockfile import Lock
from buildsys.steps.lib.families.ultralytics_tasks import SUFFIXES

_EVERY_TASK = tuple(SUFFIXES)
_VERSIONS: dict[str, tuple[str, ...]] = {
    "yolov3": ("detect",),
    "yolov5n": ("detect",),
    "yolov6n": ("detect",),
    "yolov8n": _EVERY_TASK,
    "yolov9c": ("detect", "segment"),
    "yolov10n": ("detect",),
    "yolo11n": _EVERY_TASK,
    "yolo12n": _EVERY_TASK,
    "yolo26n": _EVERY_TASK,
    "rtdetr-l": ("detect",),
    "yolov8n-world": ("detect",),
}
"""Of Ultralytics' networks one of each version, with the tasks that it is there for."""
_OTHERS = (("yolox", "yolox-nano"), ("yolov4", "yolov4-tiny"))
_KINDS = {
    "LiteRT": "raspberry-pi-5",
    "Engines": "jetson-orin",
    "Triton": "triton-onnx",
    "Microcontroller, own decoder": "grove-vision-ai-v2",
}
"""Columns, and a target that stands for each."""
_CALIBRATION = 'calibration: {images: "some/*.jpg", count: 4}'


@dataclass(frozen=True, kw_only=True)
class Row:
    """One network of the table.

    `schemes`: by kind of target; `firmware`: contracts that decode it; `reasons`: by kind of target or
    contract, why nothing is built; `branches`: the default first.
    """

    architecture: str
    task: str
    branches: tuple[str, ...]
    schemes: dict[str, tuple[str, ...]]
    firmware: tuple[str, ...]
    reasons: dict[str, str]


@dataclass(frozen=True, kw_only=True)
class _Network:
    family: str
    architecture: str
    task: str


@dataclass(frozen=True, kw_only=True)
class _Entry:
    """One build of a row's recipe. `column`: a key of _KINDS, or the name of a contract."""

    column: str
    target: str
    scheme: str
    firmware: str


def rows(root: Path) -> Iterator[Row]:
    """Yield every row, checked with the targets and contracts of the workspace `root`."""
    boards = Boards(root)
    entries = tuple(_entries(boards))
    with tempfile.TemporaryDirectory() as place:
        (Path(place) / "some").mkdir()
        (Path(place) / "some" / "one.jpg").write_bytes(b"")
        (Path(place) / "recipes").mkdir()
        (Path(place) / "targets").symlink_to(root / "targets")
        fitting = {net: _fitting(entries, net.task, boards) for net in _networks()}
        texts = {
            Path(place) / "recipes" / f"{net.architecture}.yaml": _recipe(net, fitting[net])
            for net in fitting
        }
        loader = Loader(Path(place), Lock(), Path(place), Unwritten(recipes=texts))
        for net, path in zip(fitting, texts, strict=True):
            yield _row(net, fitting[net], dict(_refused(loader, path, fitting[net])), boards)


def _networks() -> Iterator[_Network]:
    for version, tasks in _VERSIONS.items():
        for task in tasks:
            name = f"{version}-{SUFFIXES[task]}" if SUFFIXES[task] else version
            yield _Network(family="ultralytics", architecture=name, task=task)
    for family, name in _OTHERS:
        yield _Network(family=family, architecture=name, task="detect")


def _entries(boards: Boards) -> Iterator[_Entry]:
    for column, target in _KINDS.items():
        for scheme in boards.board(target).target.pipelines:
            yield _Entry(column=column, target=target, scheme=scheme, firmware="unchecked")
    for name, path in sorted(boards.contracts.items()):
        if boards.contract(path).head is not None:
            target = "xiao-esp32s3" if "esp32" in name else "grove-vision-ai-v2"
            yield _Entry(column=name, target=target, scheme="int8", firmware=name)


def _fitting(entries: tuple[_Entry, ...], task: str, boards: Boards) -> tuple[_Entry, ...]:
    """Return the entries without contracts of other tasks."""
    return tuple(
        entry
        for entry in entries
        if entry.column in _KINDS or boards.contract(boards.contracts[entry.column]).task == task
    )


def _recipe(net: _Network, entries: tuple[_Entry, ...]) -> str:
    """Return a recipe with each entry on its own line: messages contain the line."""
    return "\n".join(
        (
            f"name: {net.architecture}",
            f"source: {{family: {net.family}, task: {net.task}, architecture: {net.architecture},"
            " weights: random}",
            "input: {size: 96}",
            "evaluate: none",
            "targets:",
            *(
                f"  - {{target: {entry.target}, as: build-{number}, firmware: {entry.firmware},"
                f" quantization: {{scheme: {entry.scheme}, {_CALIBRATION}}}}}"
                for number, entry in enumerate(entries)
            ),
            "",
        )
    )


_FIRST_ENTRY = 6
"""The line of the first entry in a recipe of `_recipe`."""


def _refused(
    loader: Loader, path: Path, entries: tuple[_Entry, ...]
) -> Iterator[tuple[_Entry, str]]:
    """Yield the entries without a build, each with the message of its mistake."""
    loaded = loader.recipe(path)
    built = {build.id for build in loaded.builds}
    errors = [found for found in loaded.diagnostics if found.is_error]
    for number, entry in enumerate(entries):
        if f"{path.stem}@build-{number}" not in built:
            own = [found for found in errors if found.line == _FIRST_ENTRY + number]
            yield entry, (own or errors)[0].message


def _row(
    net: _Network, entries: tuple[_Entry, ...], refused: dict[_Entry, str], boards: Boards
) -> Row:
    built = [entry for entry in entries if entry not in refused]
    family = networks()[net.family]
    return Row(
        architecture=net.architecture,
        task=net.task,
        branches=family.branches_of(net.architecture) if built and family.heads else (),
        schemes={
            column: tuple(entry.scheme for entry in built if entry.column == column)
            for column in _KINDS
        },
        firmware=tuple(entry.column for entry in built if entry.column not in _KINDS),
        reasons={
            entry.column: _without_label(text, boards, entry.column)
            for entry, text in refused.items()
        },
    )


def table(root: Path) -> str:
    """Return a Markdown table with a row for each network, and the reasons below it."""
    head = ("Network", "Task", "Branches", *_KINDS, "Firmware contracts")
    reasons: dict[str, int] = {}
    lines = [f"| {' | '.join(head)} |", "| --- |" + " --- |" * (len(head) - 1)]
    for row in rows(root):
        cells = [_cell(row.schemes[column], row.reasons.get(column), reasons) for column in _KINDS]
        names = [f"`{name}`" for name in row.firmware]
        why = [text for column, text in row.reasons.items() if column not in _KINDS]
        marks = dict.fromkeys(_cell((), text, reasons) for text in why)
        cells = [f"`{row.architecture}`", row.task, ", ".join(row.branches), *cells]
        lines.append(f"| {' | '.join([*cells, ', '.join((*names, *marks)) or 'none'])} |")
    notes = [f"{number}. {text[0].upper()}{text[1:]}." for text, number in reasons.items()]
    return "\n".join([*lines, "", *notes])


def _cell(schemes: tuple[str, ...], reason: str | None, reasons: dict[str, int]) -> str:
    """Return the schemes, or the number of the reason why there are none."""
    if reason is None:
        return ", ".join(schemes)
    return f"no ({reasons.setdefault(reason, len(reasons) + 1)})"


def _without_label(text: str, boards: Boards, column: str) -> str:
    """Return a message without the names of network and firmware."""
    if column in boards.contracts:
        contract = boards.contract(boards.contracts[column])
        text = text.removeprefix(f"{contract.name} ({contract.label}) ")
    return text.split(": ", 1)[-1].split(";")[0].rstrip(".")
