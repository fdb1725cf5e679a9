"""Inspects the datasets of a workspace: one step each, outside the builds that use them."""

import dataclasses
import os
import re
import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from buildsys.authoring.datasets.blocks import Split as Shares
from buildsys.authoring.datasets.calibration_images import split_glob
from buildsys.authoring.datasets.findings import diagnose_one
from buildsys.authoring.recipes.build import Build
from buildsys.authoring.recipes.checks import labelled_splits
from buildsys.errors import Diagnostic, InputError
from buildsys.execution.places import Workspace
from buildsys.execution.session.loading import read_builds
from buildsys.execution.session.session import Session
from buildsys.execution.state.build_patterns import matching, select
from buildsys.execution.state.completed_plans import plan_beside
from buildsys.execution.state.step_outputs import malformed, read_object, read_output
from buildsys.files import replace_folder
from buildsys.graph import BuildPlan, Input, Step
from buildsys.operations.gated_classes import GatedClass, find_gated
from buildsys.planning.datasets import given_splits, pattern_input, plan_inspection
from buildsys.planning.plan_steps import make_step
from buildsys.registry import read_step
from buildsys.steps import inspect_dataset
from buildsys.steps.lib.datasets.labels import Finding
from buildsys.steps.lib.datasets.split_shares import divide
from buildsys.steps.lib.datasets.survey_text import render_table
from buildsys.steps.lib.datasets.ultralytics_layout import Split
from buildsys.steps.lib.heads.tasks import shape_of

_SHOWN = 10
"""Findings of one kind that a terminal shows; report.json has them all."""


@dataclass(frozen=True, kw_only=True)
class Dataset:
    """One dataset with the builds that use it, and the plan that inspects it.

    `place`: the prefix of its files' names in messages: its folder, relative to the workspace;
    `shares`: how its builds divide the train split; `gated`: their gates on single classes.
    """

    name: str
    label: str
    place: str
    builds: tuple[str, ...]
    plan: BuildPlan
    shares: tuple[Shares, ...] = ()
    gated: tuple[GatedClass, ...] = ()


def find_datasets(workspace: Workspace) -> tuple[tuple[Dataset, ...], dict[str, str]]:
    """Return every dataset of every valid build, and all those builds: id -> recipe.

    Names and reports depend on the whole workspace, never on the request.
    """
    builds = read_builds(workspace)
    users: dict[str, list[Build]] = {}
    planned: dict[str, tuple[tuple[Step, ...], Input]] = {}
    for build in builds:
        steps, data = plan_inspection(build, str(workspace.root))
        if data is not None and build.dataset is not None:
            key = repr((data, build.dataset, shape_of(build.recipe.source.task or "")))
            planned[key] = (steps, data)
            users.setdefault(key, []).append(build)
    names = name_datasets({key: _wanted_name(group[0]) for key, group in users.items()})
    datasets = [
        _dataset(names[key], group, *planned[key], workspace) for key, group in users.items()
    ]
    datasets += _calibration_images(builds, workspace, set(names.values()))
    return tuple(datasets), {build.id: build.recipe.name for build in builds}


def _calibration_images(
    builds: Iterable[Build], workspace: Workspace, taken: set[str]
) -> list[Dataset]:
    """Return the images that patterns for calibration find, as one dataset per pattern."""
    users: dict[str, list[str]] = {}
    for build in builds:
        calibration = build.recipe.quantization.calibration
        if (
            calibration is not None
            and calibration.images is not None
            and not build.no_calibration_images
        ):
            users.setdefault(calibration.images, []).append(build.id)
    labels = {each: f"calibration-{split_glob(each)[0]}".replace("/", "-") for each in users}
    names = name_datasets(labels)
    datasets = []
    for pattern, ids in users.items():
        data, name = pattern_input(str(workspace.root), pattern), names[pattern]
        name = f"{name}-images" if name in taken else name
        params = inspect_dataset.Params(
            title=name,
            format="images",
            splits=(Split(name=pattern, paths=(".",)),),
            classes=(),
            keypoints=0,
            keypoint_dims=0,
            frames=(),
            shape="folder",
        )
        definition = read_step(inspect_dataset)
        step = make_step("inspect", definition, params, {"dataset": data}, {"report": True})
        datasets.append(
            Dataset(
                name=name,
                label=f"calibration images {pattern}",
                builds=tuple(ids),
                place=split_glob(pattern)[0],
                plan=plan_beside(f"data:{name}", pattern, (step,), recipe=name),
            )
        )
    return datasets


def name_datasets(labels: dict[str, str]) -> dict[str, str]:
    """Return a folder name for every dataset: the data's own if it is unique, else its whole path.

    `labels`: paths of data.yaml files, or of folders of classes, as recipes write them, or names
    without a slash.
    """
    short = {key: _plain(_folder(label).name or label) for key, label in labels.items()}
    names: dict[str, str] = {}
    for key, label in sorted(labels.items(), key=lambda item: item[1]):
        clear = list(short.values()).count(short[key]) == 1
        name = wanted = short[key] if clear else _plain(label.removesuffix(".yaml"))
        number = 1
        while name in names.values():
            number += 1
            name = f"{wanted}-{number}"
        names[key] = name
    return names


def _folder(label: str) -> Path:
    path = Path(label)
    return path.parent if path.suffix in (".yaml", ".yml") else path


def choose(
    asked: Sequence[str],
    datasets: Sequence[Dataset],
    builds: Mapping[str, str],
    broken: Sequence[str] = (),
) -> tuple[tuple[Dataset, ...], tuple[str, ...]]:
    """Return the datasets of builds, variants, recipes or patterns of these, and chosen builds
    without one.

    `builds`: recipes by build. `broken`: the recipes with mistakes, whose builds may be missing.
    Raises InputError for an unknown name.
    """
    chosen = set() if asked else set(builds)
    for name in asked:
        try:
            chosen |= set(select([name], tuple(builds), recipes=builds))
        except InputError:
            if not matching(name, broken, builds):
                raise
    with_data = tuple(d for d in datasets if chosen & set(d.builds))
    known_builds = {build for d in datasets for build in d.builds}
    return with_data, tuple(sorted(chosen - known_builds))


@dataclass(frozen=True, kw_only=True)
class _AtInput:
    input: tuple[int, int]
    objects: int
    under_8_px: int
    median_px: float


@dataclass(frozen=True, kw_only=True)
class _Split:
    name: str
    pictures: int
    objects: int
    classes: dict[str, int]
    without_label_file: int
    empty_label_file: int
    unreadable: int
    at_input: tuple[_AtInput, ...]
    sizes: dict[str, tuple[int, int]] | None = None
    keypoints: dict[str, int] | None = None


@dataclass(frozen=True, kw_only=True)
class _Report:
    """The content of report.json, which the step writes."""

    title: str
    classes: tuple[str, ...]
    keypoints: int
    shape: str
    inputs: tuple[tuple[int, int], ...]
    splits: tuple[_Split, ...]
    findings: tuple[Finding, ...]
    sheet: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Inspection:
    """The result of inspecting a dataset; `sheet`: the drawn images, empty if none can be read;
    `different`: the number of different images in the first split; `objects`: by split and class.
    """

    classes: tuple[str, ...]
    different: int
    objects: dict[str, dict[str, int]]
    findings: tuple[Finding, ...]
    sheet: tuple[str, ...]
    table: str

    def count(self, severity: str) -> int:
        """Return the number of errors, or of warnings."""
        return sum(finding.severity == severity for finding in self.findings)


def inspect(session: Session, dataset: Dataset) -> Inspection:
    """Inspect a dataset, or use the recorded result; fills build/.data/<name>/.

    Raises BuildsysError.
    """
    for step in dataset.plan.steps:
        session.executor.run_step(step)
    return _publish(session, dataset)


def report_folder(workspace: Workspace, name: str) -> Path:
    """build/.data/<name>."""
    return workspace.build / ".data" / name


def render_findings(findings: Iterable[Finding], place: str) -> list[str]:
    """Return findings as lines for a terminal, the first ten of every kind."""
    kinds: dict[tuple[str, str], list[Finding]] = {}
    for finding in findings:
        kinds.setdefault((finding.severity, finding.kind), []).append(finding)
    lines = []
    for (severity, _), found in kinds.items():
        lines += [_diagnostic(finding, place).render() for finding in found[:_SHOWN]]
        if len(found) > _SHOWN:
            lines.append(
                f"{place}: {severity}: and {len(found) - _SHOWN} more like these, in report.md"
            )
    return lines


def _diagnostic(finding: Finding, place: str) -> Diagnostic:
    found = diagnose_one(finding, lambda path: os.path.normpath(f"{place}/{path}"))
    return dataclasses.replace(found, severity=finding.severity)


def _wanted_name(build: Build) -> str:
    block = build.recipe.dataset
    assert block is not None
    if block.splits is not None:
        places = [(os.path.dirname(s.annotations), s.images) for _, s in block.splits.given]
        folders = [folder for pair in places for folder in pair]
        written = {os.path.isabs(folder) for folder in folders}
        return os.path.commonpath(folders) if len(written) == 1 else folders[-1]
    return f"{block.generator}-{build.recipe.name}" if block.generator else block.path or ""


def _dataset(
    name: str, group: list[Build], steps: tuple[Step, ...], data: Input, workspace: Workspace
) -> Dataset:
    facts = group[0].dataset
    assert facts is not None
    block = group[0].recipe.dataset
    label = f"generator {block.generator}" if block and block.generator else _wanted_name(group[0])
    shape = shape_of(group[0].recipe.source.task or "")
    frames = {build.recipe.input.size for build in group if build.recipe.input is not None}
    if shape == "folder":
        frames = set()  # no object has a size that could be too small
    splits = tuple(Split(name=split, paths=paths) for split, paths in facts.splits)
    own = "folders" if shape == "folder" else "ultralytics"
    params = inspect_dataset.Params(
        title=name,
        format=facts.format or own,
        splits=given_splits(facts) or splits,
        classes=facts.names,
        keypoints=facts.keypoints,
        keypoint_dims=facts.keypoint_dims,
        frames=tuple(sorted((height, width) for height, width in frames)),
        shape=shape,
        labelled=tuple(sorted({split for build in group for split in labelled_splits(build)})),
    )
    definition = read_step(inspect_dataset)
    step = make_step("inspect", definition, params, {"dataset": data}, {"report": True})
    plan = plan_beside(f"data:{name}", label, (*steps, step), recipe=name)
    return Dataset(
        name=name,
        label=label,
        builds=tuple(build.id for build in group),
        shares=_unique_shares(group),
        gated=find_gated(group),
        place=os.path.relpath(data.source.path, workspace.root) if data.source else name,
        plan=plan,
    )


def _unique_shares(group: Iterable[Build]) -> tuple[Shares, ...]:
    """Return how builds divide the train split, each way once."""
    shares = [build.split[1] for build in group if build.split is not None]
    return tuple({(each.val, each.test): each for each in shares}.values())


def describe_shares(dataset: Dataset, look: Inspection) -> list[str]:
    """Return a line about each way in which the images are divided into splits."""
    lines = []
    for shares in dataset.shares:
        numbers = divide(look.different, shares.val, shares.test)
        if numbers["train"] > 0:
            parts = ", ".join(f"{number} {name}" for name, number in numbers.items() if number)
            lines.append(f"`split` divides the {look.different} different images: {parts}")
    return lines


def _publish(session: Session, dataset: Dataset) -> Inspection:
    """Replace the report's folder by the new one."""
    step = session.state.steps[dataset.plan.package]
    folder = session.workspace.own(report_folder(session.workspace, dataset.name))
    fresh = folder.with_name(f".{folder.name}.{os.getpid()}")
    shutil.rmtree(fresh, ignore_errors=True)
    try:
        session.executor.fetch(step, "report", fresh)
        look = _read_look(fresh, step.stage)
        replace_folder(fresh, folder)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
    return look


def _read_look(folder: Path, stage: str) -> Inspection:
    """Read the report. Raises StepFailed where it is not in the step's form."""
    place = folder / "report.json"
    if not os.path.isfile(place):
        raise malformed(stage, "report", "report.json is missing")
    text = place.read_bytes()
    report = read_output(_Report, text, stage, place.name)
    try:
        table = render_table(read_object(text, stage, place.name))
    except (KeyError, IndexError) as error:
        raise malformed(stage, place.name, "a split lacks values that the others have") from error
    copies = sum(finding.kind == "duplicate" for finding in report.findings)
    return Inspection(
        classes=report.classes,
        different=report.splits[0].pictures - copies if report.splits else 0,
        objects={split.name: split.classes for split in report.splits},
        findings=report.findings,
        sheet=report.sheet,
        table=table,
    )


def _plain(text: str) -> str:
    """Return a name with only characters that every file system and shell accepts."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", text).strip("-.") or "data"
