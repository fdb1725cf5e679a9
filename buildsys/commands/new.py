"""buildsys new: write a commented recipe, from a model file if one is given."""

import argparse
import contextlib
import dataclasses
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

from buildsys.errors import Diagnostic, InputError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from buildsys.authoring.datasets.dataset import Data
    from buildsys.authoring.datasets.found_data import Images, LabelledData
    from buildsys.authoring.scaffold.bringing import OutsideData
    from buildsys.authoring.scaffold.draft import Draft
    from buildsys.authoring.scaffold.probing import Probe
    from buildsys.authoring.targets.contract import Contract
    from buildsys.authoring.targets.lookup import Boards
    from buildsys.authoring.targets.target import Target

_DEFAULT_TARGET = "host"
_MOST_CLASSES = 5


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments: a name, and what is known of model, data and boards."""
    parser.add_argument("name", metavar="NAME", help="name of the recipe and of its file")
    parser.add_argument(
        "--from", dest="file", metavar="FILE", help="a .pt, .pth, .onnx or .tflite file"
    )
    parser.add_argument(
        "--trust",
        choices=("code",),
        help="FILE may run code in the isolated steps that load it",
    )
    parser.add_argument(
        "--family", help="model family of the network, such as yolox; default: that of FILE"
    )
    parser.add_argument(
        "--target",
        action="append",
        metavar="NAME",
        help="a board from `buildsys targets`; can be repeated; default: host",
    )
    parser.add_argument(
        "--data",
        metavar="PATH",
        help="a data.yaml, COCO's JSON, or a folder: Pascal VOC, darknet, labelImg, train/CLASS/*.jpg or CLASS/*.jpg to classify, only images",
    )
    bring = parser.add_mutually_exclusive_group()
    bring.add_argument(
        "--copy",
        action="store_true",
        help="copy FILEs from outside the workspace to weights/ and data/; nothing is overwritten",
    )
    bring.add_argument(
        "--link",
        action="store_true",
        help="copy nothing: link FILEs in weights/ and name the data in buildsys.yaml",
    )


def run(options: argparse.Namespace) -> int:
    """Write recipes/NAME.yaml, never over an existing file; exit code 2 if `check` finds an error.

    The draft is checked before it is written, so its errors are reported together.
    """
    from buildsys.authoring.recipes.loader import Unwritten
    from buildsys.authoring.scaffold.draft import describe
    from buildsys.authoring.targets.lookup import Boards
    from buildsys.authoring.workspace import FILE
    from buildsys.execution import signals
    from buildsys.execution.places import Workspace
    from buildsys.execution.session.loading import make_plans
    from buildsys.files import write_new

    root = options.folder.resolve()
    path = _place(root, options.name)
    boards = Boards(root)
    label = f"recipes/{path.name}"
    with contextlib.ExitStack() as undo, signals.undone_on_signals(undo.close):
        draft, file = _read_options(root, options, boards, undo)
        text = _write(draft, boards)
        plans = make_plans(
            Workspace(root), Unwritten(recipes={path: text}, workspace_file=file or None)
        )
        (own,) = (recipe for recipe in plans.recipes if recipe.name == options.name)
        found = list(own.diagnostics)
        if draft.outlines is not None and draft.task == "detect" and not draft.boxes_alone:
            found.append(draft.outlines)
        try:
            if file:
                _write_workspace_file(root / FILE, file, undo)
            write_new(path, text)
        except OSError as error:
            raise InputError.at(label, f"cannot be written: {error.strerror}") from error
        undo.pop_all()
    if draft.probe and draft.probe.checkpoint:
        print(f"found  {draft.probe.path}: {describe(draft.probe.checkpoint)}")
    for line in draft.brought:
        print(line)
    if options.trust and draft.probe and not draft.probe.runs_code:
        print(f"left out  trust: {draft.probe.path} runs no code")
    for line in (*_unused_labels(root, draft), *_taken_classes(draft)):
        print(line)
    print(f"wrote  {label}")
    return _print_rest(root, draft, found)


def _unused_labels(root: Path, draft: "Draft") -> "Iterator[str]":
    """Yield what to print about keypoints that the data has, but the recipe does not use."""
    from buildsys.authoring.datasets.coco_guess import find_counterpart

    facts, network = draft.facts, draft.network
    if facts is None or network is None or draft.task == "pose" or "pose" not in network.tasks:
        return
    for _, places in facts.given[:1]:
        found = find_counterpart(Path(facts.root, places[-1]))
        if found is not None:
            inside = found.is_relative_to(root)
            name = found.relative_to(root).as_posix() if inside else str(found)
            yield f"left out  {name}: for task pose, give it as --data"


def _taken_classes(draft: "Draft") -> "Iterator[str]":
    """Yield which folders are taken as classes, where no folder train shows that they are."""
    from buildsys.text import first_of

    facts = draft.facts
    if facts is not None and facts.format == "folders" and facts.given == (("train", (".",)),):
        yield f"taken as classes to classify: {first_of(facts.names, _MOST_CLASSES)}"


def _write_workspace_file(path: Path, text: str, undo: contextlib.ExitStack) -> None:
    """Write buildsys.yaml; `undo` restores the old file."""
    from buildsys.files import write_atomic

    if os.path.exists(path):
        undo.callback(write_atomic, path, path.read_bytes())
    else:
        undo.callback(path.unlink, missing_ok=True)
    write_atomic(path, text)


def _place(root: Path, name: str) -> Path:
    """Return the path of the recipe. Raises InputError if the name is invalid or taken."""
    from buildsys.authoring.recipes.reserved_names import name_problem
    from buildsys.authoring.syntax.values import NAME
    from buildsys.files import refuse_links

    if not re.fullmatch(NAME, name):
        better = re.sub(r"[^a-z0-9]+", "-", name.lower().removesuffix(".yaml")).strip("-")
        hint = f"for example {better}" if re.fullmatch(NAME, better) else ""
        message = "is not a recipe name: use lowercase letters, digits and hyphens; start with a letter or digit"
        raise InputError.at(name or '""', message, hint)
    problem = name_problem(name)
    if problem is not None:
        raise InputError.at(name, problem[0], f"for example {name[:20]}-model")
    path = root / "recipes" / f"{name}.yaml"
    refuse_links(root, path.parent)
    if os.path.exists(path) or os.path.islink(path):
        raise InputError.at(f"recipes/{name}.yaml", "exists", "choose another name, or edit it")
    return path


def _read_options(
    root: Path, options: argparse.Namespace, boards: "Boards", undo: contextlib.ExitStack
) -> tuple["Draft", str]:
    """Return all options, read and checked, and the new text of buildsys.yaml (or empty).

    `undo` removes what was copied. Raises InputError.
    """
    from buildsys.authoring.scaffold.draft import Draft
    from buildsys.authoring.scaffold.given_paths import inside
    from buildsys.authoring.scaffold.named_data import is_named

    names = tuple(dict.fromkeys(options.target or (_DEFAULT_TARGET,)))
    for name in names:
        if name not in boards.targets:
            raise InputError.at(name, "is not a target", boards.suggest(name))
    found, brought = _probe(root, options, undo)
    _check_family(options.family, found)
    draft = Draft(
        name=options.name,
        boards=tuple(boards.board(name) for name in names),
        probe=found,
        facts=None,
        chosen=options.family or "",
        brought=brought,
    )
    if options.data is None:
        return _with_usual_images(root, draft), ""
    if is_named(root, options.data):
        return _with_named(root, options.data, draft), ""
    if (options.copy or options.link) and _is_outside(root, options.data):
        return _read_outside(root, options, boards, draft, undo)
    data = _guess(root, inside(root, options.data, "data"), options.data, draft)
    return _with_data(data, options.data, draft), ""


def _with_usual_images(root: Path, draft: "Draft") -> "Draft":
    """Return the draft with the calibration images that are already where it would ask for some."""
    from buildsys.authoring.datasets.calibration_images import list_matches

    number = len(list_matches(root, draft.pattern)) if not draft.splits else 0
    if not number:
        return draft
    return dataclasses.replace(draft, images=draft.pattern, count=min(draft.count, number))


def _is_outside(root: Path, given: str) -> bool:
    from buildsys.authoring.scaffold.given_paths import whole

    return not whole(root, given).is_relative_to(root)


def _probe(
    root: Path, options: argparse.Namespace, undo: contextlib.ExitStack
) -> tuple["Probe | None", tuple[str, ...]]:
    """Return the model file, copied or linked if requested, and lines to print about it."""
    from buildsys.authoring.scaffold.bringing import bring_weights
    from buildsys.authoring.scaffold.given_paths import whole
    from buildsys.authoring.scaffold.probing import probe

    trust = options.trust is not None
    if options.file is None:
        if trust:
            raise InputError.at("--trust", "needs a checkpoint", "give it with --from")
        return None, ()
    if not ((options.copy or options.link) and _is_outside(root, options.file)):
        return probe(root, options.file, trust), ()
    source = whole(root, options.file)
    probe(Path("/"), str(source), trust)  # files of this kind are not copied
    name, done = bring_weights(root, options.file, options.link, undo)
    return probe(root, name, trust), (done,)


def _guess(root: Path, data: str, given: str, draft: "Draft") -> "LabelledData | Images":
    """Return the data at `data`, relative to the workspace root or absolute. Raises InputError."""
    from buildsys.authoring.datasets.data_guess import guess_classes, guess_data
    from buildsys.authoring.datasets.found_data import Images

    found = guess_data(root, data, _fixed_task(draft))
    if not isinstance(found, Images):
        return found
    if draft.probe is not None and not _may_be_classes(root / data, draft):
        return found
    classes = guess_classes(root, data)
    if classes is None and draft.probe is not None:
        return found
    if classes is None:
        message = "contains images without labels: they can calibrate a network, not train it"
        hint = (
            "give the file or folder that has the labels, or trained weights: --from weights/best.pt;"
            " to classify, it contains train/<class>/*.jpg, or a folder of images for each class"
        )
        raise InputError.at(given, message, hint)
    return classes


def _may_be_classes(folder: Path, draft: "Draft") -> bool:
    """Return whether the folders in a folder may be classes of the given network.

    A finished network has at least one of them; otherwise the images calibrate it.
    """
    from buildsys.authoring.datasets.class_folders import list_folders

    known = draft.probe.checkpoint if draft.probe else None
    if known is None or _fixed_task(draft) != "classify":
        return False
    return draft.network is not None or not set(known.names).isdisjoint(list_folders(folder))


def _fixed_task(draft: "Draft") -> str:
    """Return the task of a known network; empty if the data decides."""
    return draft.task if draft.probe or draft.boxes_alone else ""


def _with_data(found: "LabelledData | Images", given: str, draft: "Draft") -> "Draft":
    """Return the draft with the facts of its data.

    Raises InputError if the family cannot use it.
    """
    from buildsys.authoring.datasets.dataset import Data
    from buildsys.authoring.datasets.found_data import Images

    if isinstance(found, Images):
        count = min(draft.count, len(found.files))
        return dataclasses.replace(draft, images=found.pattern, count=count)
    split = (found.facts.root, found.shares) if found.shares is not None else None
    draft = dataclasses.replace(draft, outlines=found.outlines)
    return _with_facts(Data(dataset=found.facts, split=split), found.block, given, draft)


def _with_facts(data: "Data", block: str, given: str, draft: "Draft") -> "Draft":
    from buildsys.authoring.datasets.dataset import count_split

    draft = dataclasses.replace(draft, facts=data.dataset, block=block)
    known = count_split(data, draft.splits[0], draft.count, {}) if draft.splits else None
    draft = dataclasses.replace(draft, count=known.number if known else draft.count)
    if draft.network is not None and draft.task not in draft.network.tasks:
        message = f"is data for task {draft.task}; family {draft.family} has no networks for it"
        raise InputError.at(given, message, "there are: " + ", ".join(draft.network.tasks))
    return draft


def _with_named(root: Path, name: str, draft: "Draft") -> "Draft":
    """Return the draft with a dataset that buildsys.yaml names. Raises InputError."""
    from buildsys.authoring.datasets.found_data import demand_splits
    from buildsys.authoring.recipes.loader import Loader
    from buildsys.authoring.scaffold.named_data import read_named
    from buildsys.execution.places import Workspace, datasets_root
    from buildsys.lockfile import read_lock

    recorded = read_lock(Workspace(root).lock)
    found = read_named(Loader(root, recorded, datasets_root()), name, _fixed_task(draft))
    if found.dataset is not None:
        demand_splits(found.dataset, found.missing_parts)
        return _with_facts(found, _name_line(name), name, draft)
    note = f"{found.waiting_for} does not exist yet: its task, classes and splits are unknown"
    draft = dataclasses.replace(draft, block=_name_line(name))
    return dataclasses.replace(draft, brought=(*draft.brought, note))


def _name_line(name: str) -> str:
    from buildsys.authoring.scaffold.draft import noted

    return noted(f"dataset: {name}", "buildsys.yaml names its place")


def _read_outside(
    root: Path,
    options: argparse.Namespace,
    boards: "Boards",
    draft: "Draft",
    undo: contextlib.ExitStack,
) -> tuple["Draft", str]:
    """Return the draft with data from outside the workspace, and the new text of buildsys.yaml.

    Copied data is named only until its files are known.
    """
    from buildsys.authoring.datasets.found_data import Images
    from buildsys.authoring.recipes.loader import Unwritten
    from buildsys.authoring.scaffold.bringing import find_outside, name_data
    from buildsys.authoring.scaffold.draft import dataset_block
    from buildsys.authoring.scaffold.given_paths import whole
    from buildsys.authoring.syntax.document import parse_document
    from buildsys.execution.places import datasets_root

    source, name = whole(root, options.data), options.name
    found = _guess(root, str(source), options.data, draft)
    if isinstance(found, Images):
        return _copy(root, options, _calibrating(source, found, options), draft, undo), ""
    there = _with_data(found, options.data, draft)
    block = parse_document("\n".join(dataset_block(there)), options.data).get("dataset")
    called, file = name_data(root, name, block)
    named = dataclasses.replace(there, block=_name_line(called))
    if options.link:
        done = f"named  {source} as `{called}` in buildsys.yaml"
        return dataclasses.replace(named, brought=(*draft.brought, done)), file
    unwritten = Unwritten(
        recipes={root / "recipes" / f"{name}.yaml": _write(named, boards)}, workspace_file=file
    )
    outside = find_outside(root, datasets_root(), source, unwritten)
    return _copy(root, options, outside, draft, undo), ""


def _calibrating(source: Path, found: "Images", options: argparse.Namespace) -> "OutsideData":
    """Return calibration images from outside the workspace, which buildsys.yaml cannot name.

    Raises InputError if they were to be linked.
    """
    from buildsys.authoring.scaffold.bringing import choose_files

    if options.link:
        message = (
            "contains calibration images; a recipe names them by a pattern inside the workspace"
        )
        raise InputError.at(options.data, message, "--copy copies them to data/")
    return choose_files(source, str(source), tuple(found.files))


def _copy(
    root: Path,
    options: argparse.Namespace,
    outside: "OutsideData",
    draft: "Draft",
    undo: contextlib.ExitStack,
) -> "Draft":
    """Return the draft with data that was copied to data/."""
    from buildsys.authoring.scaffold.bringing import copy_data

    data = copy_data(root, outside, undo)
    here = _with_data(_guess(root, data, options.data, draft), options.data, draft)
    done = [f"copied data/{outside.folder.name}, from {outside.folder}"]
    if outside.left_out:
        count, first = len(outside.left_out), outside.left_out[0]
        done.append(f"left   {count} links that lead out of the data, the first is {first}")
    return dataclasses.replace(here, brought=(*draft.brought, *done))


def _check_family(given: str | None, found: "Probe | None") -> None:
    """Check that the family can be trained and matches the file. Raises InputError."""
    from buildsys.authoring.recipes.families import trained_names
    from buildsys.text import did_you_mean

    if given is None:
        return
    if given not in trained_names():
        hint = did_you_mean(
            given, trained_names(), cutoff=0.8
        )  # no hint: yolov4 is not a typing error for yolox
        raise InputError.at(given, "is not a family that buildsys trains", hint)
    if found is not None and found.family != given:
        message = f"is of family {found.family}, not {given}"
        raise InputError.at(found.path, message, "omit --family")


def _write(draft: "Draft", boards: "Boards") -> str:
    from buildsys.authoring.recipes.pipelines import UnfitError
    from buildsys.authoring.scaffold.draft import check_pipeline, write_recipe
    from buildsys.authoring.syntax.document import parse_document

    for board, scheme in zip(draft.boards, draft.schemes, strict=True):
        try:
            check_pipeline(draft, board, scheme)
        except UnfitError as error:
            message = f"cannot be built from a source of family {draft.family}: {error}"
            raise InputError.at(board.target.name, message) from error
    chosen = {board.target.name for board in draft.boards}
    others = tuple(name for name in sorted(boards.targets) if name not in chosen)
    contracts = tuple(_contract(draft, board.target, boards) for board in draft.boards)
    text = write_recipe(draft, contracts, others)
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise InputError.at(draft.name, "a file's name is not UTF-8; rename it") from error
    parse_document(text, f"recipes/{draft.name}.yaml")  # do not write what cannot be read
    return text


def _contract(draft: "Draft", target: "Target", boards: "Boards") -> "Contract | None":
    """Return the target's firmware contract for the draft's task, or None."""
    firmware = {str(task): name for task, name in target.firmware.items()}.get(draft.task)
    if not firmware or firmware == "unchecked":
        return None
    return boards.contract(boards.contracts[firmware])


def _print_rest(root: Path, draft: "Draft", found: list[Diagnostic]) -> int:
    """Print what `check` finds in the new recipe, and the next command."""
    from buildsys.authoring.scaffold.starters import names_loader

    for diagnostic in found:
        print(f"\n{diagnostic.render()}")
    mistaken = any(diagnostic.is_error for diagnostic in found)
    if not (os.path.exists(root / "dodo.py") or names_loader(root)):
        print("\nnext:  buildsys init    # so that doit finds the builds; existing files are kept")
    elif mistaken:
        print("\nnext:  buildsys check   # after these changes")
    else:
        name = draft.boards[0].target.name if len(draft.boards) == 1 else "*"
        words = f"build:{draft.name}@{name}"
        print(f"\nnext:  doit {words if name != '*' else repr(words)}")
    return 2 if mistaken else 0
