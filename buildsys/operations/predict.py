"""`buildsys predict`: runs a build's shipped file on photographs, by one more step."""

import contextlib
import json
import os
import re
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from glob import escape
from pathlib import Path

from buildsys import typed_json
from buildsys.authoring.recipes.build import Build, Selection
from buildsys.authoring.recipes.model import describe_outputs, model_spec, on_reference_kernels
from buildsys.digest import digest_file
from buildsys.errors import BuildsysError, Diagnostic, InputError, Rejected, Waiting, errors_of
from buildsys.execution.packages.publish import red_verdicts
from buildsys.execution.places import Workspace
from buildsys.execution.session.build_planning import plan_build
from buildsys.execution.session.loading import read_recipes
from buildsys.execution.session.session import Session
from buildsys.execution.state.build_patterns import select
from buildsys.execution.state.completed_plans import plan_beside
from buildsys.execution.state.manifests import read_manifest
from buildsys.execution.state.plans import Plans
from buildsys.execution.state.step_outputs import malformed, read_output
from buildsys.files import read_regular
from buildsys.graph import BuildPlan, Input, Source, Step
from buildsys.json_text import json_text
from buildsys.operations.destinations import fresh_inside, placing
from buildsys.outcome import Kind
from buildsys.planning.plan_steps import make_step
from buildsys.records import Digest, RelativeName, Size
from buildsys.registry import find_step
from buildsys.spec import MADE_FROM, READ_AS, Format
from buildsys.steps.lib.datasets.ultralytics_layout import Split
from buildsys.steps.lib.files.hidden_files import is_hidden
from buildsys.steps.lib.images.decoding import SUFFIXES
from buildsys.steps.lib.metrics import accuracy, predictions

_FILE = "predictions.json"


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """The build whose file is run, and the step that runs it, in a separate plan.

    `paths`: the images as they were named, in the step's order.
    """

    plan: BuildPlan
    build: BuildPlan
    paths: tuple[Path, ...]

    @property
    def plans(self) -> Plans:
        """Return the plans for a session."""
        return Plans.of((self.build, self.plan))


def find_images(named: Sequence[str]) -> tuple[Path, ...]:
    """Return the named images, and all images of named folders.

    Raises one InputError for all names without an image.
    """
    found: dict[Path, None] = {}
    problems = []
    for name in named:
        path = Path(name)
        inside: list[Path] = []
        if os.path.isdir(path):
            inside = sorted(p for p in path.rglob("*") if _is_image(p.relative_to(path), p))
            message = "this folder contains no images"
        elif not os.path.isfile(path):
            message = "the file does not exist"
        elif path.suffix.lower() in SUFFIXES:
            inside, message = [path], ""
        else:
            message = f"does not have the ending of an image ({', '.join(sorted(SUFFIXES))})"
        if not inside:
            problems.append(Diagnostic(path=name, message=message))
        found |= dict.fromkeys(inside)
    if problems:
        raise InputError(*problems)
    return tuple(found)


def name_drawings(paths: Sequence[Path]) -> tuple[str, ...]:
    """Return <name>.jpg for every image; to a taken name, its folder's name is added, then a
    number.
    """
    names: list[str] = []
    for path in paths:
        name, number = f"{path.stem}.jpg", 1
        while name in names:
            counted = f"-{number}" if number > 1 else ""
            name = f"{path.absolute().parent.name}-{path.stem}{counted}.jpg"
            number += 1
        names.append(name)
    return tuple(names)


def plan_prediction(
    workspace: Workspace, name: str, paths: tuple[Path, ...], confidence: float
) -> Prediction:
    """Return the step that runs a build's file on images. Raises InputError, Waiting."""
    build = find_build(workspace, name)
    if build.waiting_for:
        raise Waiting(f"{build.id} waits for {build.waiting_for}: there is no file to run yet")
    plan = plan_build(build, workspace)
    model = find_runnable(plan)
    step = _make_step(build, model, paths, confidence)
    aside = plan_beside(f"{build.id} on images", plan.label, (step,), plan.recipe, plan.target)
    return Prediction(plan=aside, build=plan, paths=paths)


def find_runnable(plan: BuildPlan) -> Input:
    """Return the shipped file; for one that only a device can run, the file that it was made
    from.
    """
    assert plan.shipped is not None
    item = plan.shipped
    if item.name not in MADE_FROM:
        return item
    (compilation,) = (step for step in plan.steps if step.id == item.step)
    return next(i for i in compilation.inputs if i.name in MADE_FROM[item.name])


def check_built(session: Session, plan: BuildPlan) -> None:
    """Raise BuildsysError unless the file of the current recipe is made.

    It is in the build's folder; for an engine that waits, it is the file before the engine.
    """
    if session.publisher.find_published(plan) is not None:
        return
    red = red_verdicts(session.state, plan)
    if red:
        raise Rejected(f"{plan.build} was rejected by {red[0].stage}: there is no shipped file")
    if _waits_made(session, plan):
        return
    raise BuildsysError(f"{plan.build} is not up to date; run `doit build:{plan.build}` first")


def _waits_made(session: Session, plan: BuildPlan) -> bool:
    """Return whether only another machine can make the shipped file, and the file to run here is
    made.
    """
    outcome = session.publisher.current_outcome(plan)
    waits = outcome is not None and outcome.kind == Kind.WAITING
    item = find_runnable(plan)
    return waits and item != plan.shipped and session.state.input_digest(item) is not None


@dataclass(frozen=True, kw_only=True)
class Detection:
    """One object in pixels of the image: `box` x1 y1 x2 y2, None for a class of the whole image.

    `keypoints`: x, y, visibility 0..1; `outline` of a mask and `corners` of a rotated box: x, y.
    """

    class_: str
    score: float
    box: tuple[float, float, float, float] | None = None
    keypoints: tuple[tuple[float, float, float], ...] | None = None
    outline: tuple[tuple[float, float], ...] | None = None
    corners: tuple[tuple[float, float], ...] | None = None


@dataclass(frozen=True, kw_only=True)
class Predicted:
    """Objects in one image, best first; `picture`: the image as it was named."""

    picture: str
    drawing: RelativeName
    width: Size
    height: Size
    objects: tuple[Detection, ...]


@dataclass(frozen=True, kw_only=True)
class Unreadable:
    """An image that could not be read; `picture`: as it was named."""

    picture: str
    problem: str


@dataclass(frozen=True, kw_only=True)
class RunModel:
    """The file that was run."""

    sha256: Digest


@dataclass(frozen=True, kw_only=True)
class Predictions:
    """The content of predictions.json, without the build."""

    model: RunModel
    confidence: float
    pictures: tuple[Predicted, ...]
    unreadable: tuple[Unreadable, ...]


def predict(
    session: Session, prediction: Prediction, target: Path, *, replaces: bool = False
) -> Predictions:
    """Run the step unless its result is stored, and copy its drawings and predictions.json to
    `target`.

    `replaces`: the drawings of the predictions.json that is there are removed. Other files in
    `target` stay. Raises BuildsysError.
    """
    (step,) = prediction.plan.steps
    # other images than those of the last call are no reason to name
    session.state.roles.pop(step.id, None)
    _give_back(session, prediction)
    with placing("the predictions", target):
        is_new = not os.path.exists(target)
        target.mkdir(parents=True, exist_ok=True)
        fresh = fresh_inside(target, "predictions")
        try:
            session.executor.fetch(step, "predictions", fresh)
            old = _drawings(target) if replaces else frozenset[str]()
            found = _fill(fresh, target, prediction)
            for name in old - {row.drawing for row in found.pictures}:
                (target / name).unlink(missing_ok=True)
            return found
        finally:
            shutil.rmtree(fresh, ignore_errors=True)
            if is_new:
                with contextlib.suppress(OSError):  # only an empty folder can be removed
                    target.rmdir()


def describe(row: Predicted, most: int = 6) -> str:
    """Return one line for an image: its objects, best first, x y width height in pixels."""
    objects = row.objects
    words = []
    for item in objects[:most]:
        word = f"{item.class_} {item.score:.2f}"
        if item.box is not None:
            x1, y1, x2, y2 = (round(value) for value in item.box)
            word += f" at {x1},{y1} {x2 - x1}x{y2 - y1}"
        words.append(word)
    more = f"; and {len(objects) - most} more" if len(objects) > most else ""
    return f"{row.picture}: " + ("; ".join(words) + more if words else "nothing")


def _give_back(session: Session, prediction: Prediction) -> None:
    """Restore a shipped file that the store has lost from the build's folder, so that no step runs
    again.
    """
    digest, store = (
        session.state.input_digest(find_runnable(prediction.build)),
        session.state.store,
    )
    if digest is None or store.has(digest, tree=False):
        return
    folder = session.workspace.package(prediction.build.build)
    for path in folder.iterdir() if os.path.isdir(folder) else ():
        if os.path.isfile(path) and digest_file(path) == digest:
            store.put_file(path)


def _fill(fresh: Path, target: Path, prediction: Prediction) -> Predictions:
    """Move the step's files to `target`. Raises StepFailed, before moving, for unexpected names."""
    (step,) = prediction.plan.steps
    names = {path.name for path in fresh.iterdir() if os.path.isfile(path)}
    if _FILE not in names:
        raise malformed(step.stage, "result", f"{_FILE} is missing")
    found = read_output(Predictions, (fresh / _FILE).read_bytes(), step.stage, _FILE)
    asked = [predictions.Picture(**entry) for entry in json.loads(step.params)["pictures"]]
    for row in found.pictures:
        picture = predictions.Picture(path=row.picture, drawing=row.drawing)
        if picture not in asked or row.drawing not in names:
            why = f"`{row.drawing}` is not the drawing of `{row.picture}`"
            raise malformed(step.stage, _FILE, why)
    named = {picture.path: str(path) for picture, path in zip(asked, prediction.paths, strict=True)}
    unknown = next((row.picture for row in found.unreadable if row.picture not in named), None)
    if unknown is not None:
        raise malformed(step.stage, _FILE, f"`{unknown}` is not among the images")
    found = replace(
        found,
        pictures=tuple(replace(row, picture=named[row.picture]) for row in found.pictures),
        unreadable=tuple(replace(row, picture=named[row.picture]) for row in found.unreadable),
    )
    (fresh / _FILE).write_text(_json(prediction.build.build, found), encoding="utf-8")
    for name in (*(row.drawing for row in found.pictures), _FILE):
        (fresh / name).replace(target / name)
    return found


def _drawings(target: Path) -> frozenset[str]:
    """Return the drawings that the predictions.json in a folder names, if it is ours."""
    try:
        known = typed_json.parse(dict[str, object], read_regular(target / _FILE))
        rows = typed_json.decode(tuple[Predicted, ...], known.get("pictures", []))
    except (OSError, ValueError):
        return frozenset()
    names = {row.drawing for row in rows}
    return frozenset(name for name in names if "/" not in name and os.path.isfile(target / name))


def _json(build: str, found: Predictions) -> str:
    """Return predictions.json with the build; a list of numbers is on one line."""
    content = {"build": build, **asdict(found, dict_factory=_object)}
    text = json_text(content, indent=1, ensure_ascii=False)
    return re.sub(r"\[[-\d.,\s]+\]", _join, text) + "\n"


def _object(pairs: list[tuple[str, object]]) -> dict[str, object]:
    """Return a JSON object without its empty values."""
    return {name.removesuffix("_"): value for name, value in pairs if value is not None}


def _join(numbers: re.Match[str]) -> str:
    """Return a list of numbers on one line."""
    return re.sub(r"\s+", " ", numbers.group()).replace("[ ", "[").replace(" ]", "]")


def find_build(workspace: Workspace, name: str) -> Build:
    """Return one build by its id, or by the name of a recipe with one target; for a selection, the
    variant that it ships.

    Raises InputError.
    """
    recipes = read_recipes(workspace)
    builds = [build for recipe in recipes for build in recipe.builds]
    ids = [build.id for build in builds]
    selections = {found.id: found for recipe in recipes for found in recipe.selections}
    broken = {recipe.name: errors_of(recipe.diagnostics) for recipe in recipes}
    chosen = select([name], [*ids, *selections], broken)
    if len(chosen) > 1:
        raise InputError.at(name, f"names {len(chosen)} builds", ", ".join(chosen))
    (found,) = chosen
    if found in selections:
        found = _shipped_variant(workspace, selections[found])
    return builds[ids.index(found)]


def _shipped_variant(workspace: Workspace, selection: Selection) -> str:
    """Return the variant that a selection ships. Raises InputError if there is none."""
    manifest = read_manifest(workspace.package(selection.id))
    if manifest is not None and manifest.chosen in selection.candidates:
        return manifest.chosen
    hint = f"build it, or name a variant: {', '.join(selection.candidates)}"
    raise InputError.at(selection.id, "has no selected variant", hint)


def _make_step(build: Build, model: Input, paths: tuple[Path, ...], confidence: float) -> Step:
    kind, spec = READ_AS.get(model.name, model.name), model_spec(build)
    definition = find_step("predict", kind)
    if definition is None:
        hint = "a build for the target `host` makes a TFLite file of the same recipe"
        message = f"ships a {kind}, which predict does not support"
        raise InputError.at(build.id, message, hint)
    if not spec.outputs or spec.preprocessing is None:
        message = "the recipe does not describe this network's input and outputs"
        raise InputError.at(build.id, message, describe_outputs(build))
    places, source = _gather(paths)
    params = predictions.Params(
        pictures=tuple(
            predictions.Picture(path=place, drawing=drawing)
            for place, drawing in zip(places, name_drawings(paths), strict=True)
        ),
        confidence=confidence,
        reading=accuracy.Params(
            split=Split(name="", paths=()),
            classes=spec.classes,
            keypoints=spec.keypoints,
            keypoint_dims=spec.keypoint_dims,
            sigmas=(),
            head=spec.head,
            preprocessing=spec.preprocessing,
            reference_kernels=kind == Format.TFLITE and on_reference_kernels(build),
            task=spec.task,
        ),
    )
    inputs = {kind: model, "pictures": Input(name="pictures", source=source)}
    return make_step("predict", definition, params, inputs, {"predictions": True})


def _gather(paths: tuple[Path, ...]) -> tuple[tuple[str, ...], Source]:
    """Return the images relative to their common folder."""
    absolute = [Path(os.path.abspath(path)) for path in paths]
    root = os.path.commonpath([path.parent for path in absolute])
    places = tuple(path.relative_to(root).as_posix() for path in absolute)
    parts = tuple(escape(place) for place in places)
    return places, Source(path=root, label="the images", parts=parts)


def _is_image(inside: Path, path: Path) -> bool:
    hidden = any(map(is_hidden, inside.parts))
    return path.suffix.lower() in SUFFIXES and not hidden and os.path.isfile(path)
