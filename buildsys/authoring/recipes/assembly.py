"""Makes one build from its merged values: validates blocks, looks up board, firmware, data,
weights.
"""

import contextlib
import dataclasses
import os
from collections.abc import Callable, Iterator
from functools import cached_property
from pathlib import Path
from typing import Protocol, TypeVar

from buildsys.authoring.datasets.calibration_images import (
    count_matches,
    find_problem,
    list_matches,
    split_glob,
)
from buildsys.authoring.datasets.dataset import Data, DatasetContext, count_split, find_data
from buildsys.authoring.datasets.facts import describe_checkpoint, recall_checkpoint
from buildsys.authoring.datasets.image_counts import ImageCount
from buildsys.authoring.datasets.trees import check_tree
from buildsys.authoring.recipes.build import Build
from buildsys.authoring.recipes.export_batch import check_batch
from buildsys.authoring.recipes.families import (
    checkpoint_suffixes,
    holds_objects,
    network,
    source_format,
)
from buildsys.authoring.recipes.given_checkpoint import checked, read_checkpoint
from buildsys.authoring.recipes.given_file import GivenFile, UnreadableModel, read_given
from buildsys.authoring.recipes.path_checks import check_paths
from buildsys.authoring.recipes.pipelines import (
    UnfitError,
    converter_problem,
    follow,
    is_finished,
)
from buildsys.authoring.recipes.recipe import (
    CALIBRATED,
    TARGET_BLOCKS,
    USUAL_COUNT,
    InputBlock,
    Recipe,
    SourceModel,
    TargetEntry,
)
from buildsys.authoring.step_settings import (
    ExportSettings,
    StepSettings,
    TrainSettings,
    is_export,
    is_training,
    takes_batch,
)
from buildsys.authoring.syntax.document import KeyPath
from buildsys.authoring.syntax.scope import Scope, merge
from buildsys.authoring.syntax.validation import parse
from buildsys.authoring.syntax.workspace_paths import hint_missing
from buildsys.authoring.targets.contract import Contract
from buildsys.authoring.targets.lookup import Board, Boards
from buildsys.authoring.targets.target import Target
from buildsys.authoring.targets.target_checks import check_vela
from buildsys.authoring.targets.tensorrt import check_tensorrt
from buildsys.errors import Diagnostic, InputError
from buildsys.recorded_facts import Fact
from buildsys.registry import find_step
from buildsys.spec import CheckpointFacts, Format
from buildsys.steps import build_engine, compile_vela
from buildsys.steps.lib.families.pickled_code import code_hint, describe_code
from buildsys.text import did_you_mean

_WEIGHTS: KeyPath = ("source", "weights", "path")
S = TypeVar("S", bound=StepSettings)


class LoaderContext(DatasetContext, Protocol):
    """What an assembler needs of the loader."""

    workspace: Path
    boards: Boards

    @property
    def digest(self) -> Callable[[Path], str]:
        """Return a function for the sha256 of a given file, which is read once."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Sources:
    """Data and weights that a recipe's builds share on all targets."""

    export: ExportSettings | None
    train: TrainSettings | None
    data: Data
    checkpoint: CheckpointFacts | None
    given: GivenFile | None
    waiting_for: str
    no_calibration_images: tuple[str, str] | None
    calibration_images: int | None
    facts: tuple[Fact, ...]
    origins: dict[str, tuple[str, int]]


class Assembler:
    """Makes builds of one recipe and variant, for all targets whose entries set no keys themselves.

    What parses, looks up or checks values raises InputError.
    """

    def __init__(self, around: LoaderContext, scope: Scope, root: Scope, read: set[Path]) -> None:
        """`root`: the recipe without variant and entry; `read`: files that were looked up are
        added.
        """
        self.around, self.workspace, self.boards = around, around.workspace, around.boards
        self.scope, self.root, self.read = scope, root, read

    def build(self, entry: TargetEntry, index: int, name: str) -> Build:
        """Return a build with all values that planning needs."""
        recipe = self._recipe
        board = self.find_board(entry, index)
        self._follow(recipe, board)
        contract = self._contract(recipe, board.target)
        common = self._sources
        data, origins = common.data, board.origins | common.origins
        return Build(
            id=name,
            recipe=recipe,
            target=board.target,
            target_folder=board.folder,
            contract=contract,
            train=common.train,
            export=common.export,
            vela=self._vela(entry, board),
            tensorrt=self._tensorrt(entry, board),
            generator=data.generator,
            dataset=data.dataset,
            dataset_parts=data.parts,
            dataset_home=data.home,
            split=data.split,
            missing_parts=data.missing_parts,
            archive=data.archive,
            checkpoint=common.checkpoint,
            given=common.given,
            waiting_for=common.waiting_for,
            no_calibration_images=common.no_calibration_images,
            calibration_images=common.calibration_images,
            facts=common.facts,
            origins=tuple(sorted([(key, *place) for key, place in origins.items()])),
        )

    @cached_property
    def raw(self) -> dict[str, object]:
        """Return all written values, as one block."""
        return self.scope.merged()

    @cached_property
    def recipe_values(self) -> dict[str, object]:
        """Return the written values of a recipe's own keys, without the blocks of the target.

        A target's block that the recipe itself contains stays: parsing reports it at its place.
        """
        raw, misplaced = self.raw, self.root.merged()
        return {key: raw[key] for key in raw if key not in TARGET_BLOCKS or key in misplaced}

    @cached_property
    def _recipe(self) -> Recipe:
        """Return the recipe, after checking that its paths lead where they may."""
        recipe = parse(Recipe, self.recipe_values, (), self.scope.locate)
        outside = check_paths(self.workspace, recipe, self.scope.locate)
        if outside:
            raise InputError(*outside)
        return recipe

    @cached_property
    def _sources(self) -> _Sources:
        """Return data and weights, looked up once for all targets."""
        recipe = self._recipe
        export = self.export_settings(recipe)
        data = find_data(self, recipe.dataset, recipe.source.task)
        checkpoint, waiting = self.find_weights(recipe)
        given = self._given(recipe)
        checkpoint = given.stated if given is not None else checkpoint
        facts = list(data.facts)
        if (
            checkpoint is not None and given is None
        ):  # a missing finished file is waited for; none of its facts are recorded
            key = f"model {recipe.source.weights.path or ''}"
            facts.append(Fact(key=key, facts=describe_checkpoint(checkpoint)))
        unmatched, available = self._calibration_images(recipe, data)
        return _Sources(
            export=export,
            train=self._train(recipe),
            data=data,
            checkpoint=checkpoint,
            given=given,
            waiting_for=waiting or data.waiting_for,
            no_calibration_images=unmatched,
            calibration_images=available,
            facts=tuple(facts),
            origins=self.scope.origins(),
        )

    def settings(self, verb: str, kind: str, data: object, at: KeyPath) -> StepSettings | None:
        """Return the settings of the step `<verb>_<kind>`; None without a block or such a step."""
        step = find_step(verb, kind)
        if data is None or step is None:
            return None
        wanted: type[StepSettings] = step.settings
        return parse(wanted, data, at, self.scope.locate)

    def export_settings(self, recipe: Recipe) -> ExportSettings | None:
        """Return the settings of the family's export, or its defaults; None for a finished file."""
        at: KeyPath = ("export",)
        settings = self.settings("export", recipe.source.family, recipe.export or {}, at)
        if takes_batch(settings):
            problems = check_batch(settings.batch, self.scope.locate)
            if problems:
                raise InputError(*problems)
        assert settings is None or is_export(settings)
        return settings

    def _train(self, recipe: Recipe) -> TrainSettings | None:
        """Return the settings of the training.

        Without a size of its own it takes the recipe's `input.size`, so that all variants and
        targets share the training.
        """
        train = self.settings("train", recipe.source.family, recipe.train, ("train",))
        assert train is None or is_training(train)
        if train is None or train.size is not None:
            return train
        base = self.root.merged().get("input")
        if not isinstance(base, dict) or base.get("size") is None:
            if recipe.input is not None and self._is_swept():
                message = "the variants have different sizes, and `train` has no `size`"
                hint = "write `train.size`, or `input.size` beside the matrix"
                raise InputError(self.scope.locate(("train",), message, hint, key=True))
            return train
        block = parse(InputBlock, base, ("input",), self.root.locate)
        return dataclasses.replace(train, size=max(block.size))

    def _is_swept(self) -> bool:
        """Return whether an axis of the matrix is the size itself."""
        return any(layer.prefix == ("input", "size") for layer in self.scope.layers)

    def _calibration_images(
        self, recipe: Recipe, data: Data
    ) -> tuple[tuple[str, str] | None, int | None]:
        """Return message and hint if the pattern of calibration images matches none, and the number
        of images if it is below the requested one, or the usual one where none is requested.

        Nothing is returned for missing images that buildsys.lock records.
        """
        calibration = recipe.quantization.calibration
        if calibration is None:
            return None, self.few_images(recipe, data)
        if calibration.images is None:
            split, most = calibration.split or "", calibration.count
            return None, self._fewer(count_split(data, split, most, self.around.counts), most)
        names = self._match_calibration_images(calibration.images)
        if names is None:
            return None, None
        problem = find_problem(self.workspace, names, calibration.images)
        found = count_matches(self.workspace, names, calibration.images)
        return problem, self._fewer(found, calibration.count) if problem is None else None

    def few_images(self, recipe: Recipe, data: Data) -> int | None:
        """Return the number of images of `train` if `calibration` is missing, and it is below the
        usual count.
        """
        if recipe.quantization.scheme not in CALIBRATED:
            return None
        return self._fewer(count_split(data, "train", USUAL_COUNT, self.around.counts), USUAL_COUNT)

    def _fewer(self, found: ImageCount | None, count: int) -> int | None:
        """Return the number of images if it is below `count`; then their folders are watched."""
        if found is None or found.number >= count:
            return None
        self.read |= found.folders
        return found.number

    def _match_calibration_images(self, images: str) -> tuple[str, ...] | None:
        """Return the files that the pattern of calibration images matches.

        None for missing images that buildsys.lock records.
        """
        place, pattern = split_glob(images)
        folder, home = self.workspace / place, str(self.workspace)
        self.read.add(folder)
        try:
            check_tree(str(folder), (pattern,), home, images, self.around.trees)
        except InputError as error:
            at = ("quantization", "calibration", "images")
            start = "" if place == "." else f"{place}/"
            raise InputError(
                *(self.scope.locate(at, start + d.message, d.hint) for d in error.diagnostics)
            ) from error
        if self.around.recorded.content(f"pictures {images}") and not os.path.isdir(folder):
            return None
        return list_matches(self.workspace, images)

    def find_board(self, entry: TargetEntry, index: int) -> Board:
        """Return the target of an entry, `index` in `targets`, and note the files that define
        it.
        """
        if entry.target not in self.boards.targets:
            message = f"there is no target `{entry.target}`"
            at: KeyPath = ("targets", index)
            hint = self.boards.suggest(entry.target)
            named = self.scope.holds((*at, "target"))
            raise InputError(self.scope.locate((*at, "target") if named else at, message, hint))
        self.read.add(self.boards.targets[entry.target])
        board = self.boards.board(entry.target)
        self.read |= board.read
        return board

    def _follow(self, recipe: Recipe, board: Board) -> None:
        """Check that the target's pipeline can process the source.

        A converter that cannot is reported at `convert.tool`, a step that cannot in the target's
        file.
        """
        scheme = recipe.quantization.scheme
        if scheme not in board.target.pipelines and not is_finished(recipe):
            return  # the checks report it
        problem = converter_problem(board.target, recipe)
        if problem is not None:
            raise InputError(self.scope.locate(("convert", "tool"), *problem))
        try:
            follow(board.target, recipe)
        except UnfitError as error:
            at = ("pipelines", error.scheme, error.position)
            hint = f"a source of family {recipe.source.family} cannot use this pipeline"
            raise InputError(board.scope.locate(at, str(error), hint)) from error

    def _contract(self, recipe: Recipe, target: Target) -> Contract | None:
        """Return the contract of the recipe's firmware, or of the target's for its task; None
        without one, or if it is `unchecked`.
        """
        name = recipe.firmware
        if name is None and recipe.source.task is not None:
            name = target.firmware.get(recipe.source.task)
        if name is None or name == "unchecked":
            return None
        if name.endswith(".yaml"):
            return self._workspace_contract(name)
        if name not in self.boards.contracts:
            hint = did_you_mean(name, self.boards.contracts)
            message = f"there is no firmware contract `{name}`"
            raise InputError(self.scope.locate(("firmware",), message, hint))
        self.read.add(self.boards.contracts[name])
        return self.boards.contract(self.boards.contracts[name])

    def _workspace_contract(self, name: str) -> Contract:
        """Return a contract by its path in the workspace."""
        path = self.workspace / name
        if not os.path.isfile(path):
            message = f"{name} does not exist"
            raise InputError(self.scope.locate(("firmware",), message, hint_missing(path, name)))
        self.read.add(path)
        return self.boards.contract(path)

    def _vela(self, entry: TargetEntry, board: Board) -> compile_vela.Settings | None:
        """Return the settings of Vela; None if the target does not run it."""
        declared, words = board.target.vela, ("runs Vela", "does not run Vela")
        return self._target_block(
            "vela",
            declared,
            entry,
            words,
            compile_vela.Settings,
            lambda settings: check_vela(settings, board.folder, self.scope.locate),
        )

    def _tensorrt(self, entry: TargetEntry, board: Board) -> build_engine.Settings | None:
        """Return the settings of the engine; None if the target builds none."""
        declared, words = board.target.tensorrt, ("builds engines", "builds no engines")
        return self._target_block(
            "tensorrt",
            declared,
            entry,
            words,
            build_engine.Settings,
            lambda settings: check_tensorrt(settings, self.scope.locate),
        )

    def _target_block(
        self,
        name: str,
        declared: dict[str, object] | None,
        entry: TargetEntry,
        words: tuple[str, str],
        kind: type[S],
        check: Callable[[S], list[Diagnostic]],
    ) -> S | None:
        """Return a target's block with the overrides of variant and entry; None if it has none.

        `declared`: the block in the target's file; `words`: what the target does, and does not do;
        `check`: finds mistakes in the whole block, called where the recipe overrides a key.
        """
        written = self.raw.get(name)
        removed = name in entry.model_fields_set and vars(entry)[name] is None
        does, does_not = words
        if declared is None:
            if written is not None or removed:
                message = f"`{name}` has no effect: {entry.target} {does_not}"
                raise InputError(self.scope.locate((name,), message, key=True))
            return None
        if removed:
            message = f"`{name}` cannot be removed: {entry.target} {does}"
            raise InputError(self.scope.locate((name,), message))
        merged = merge(declared, written) if written is not None else declared
        settings = parse(kind, merged, (name,), self.scope.locate)
        problems = check(settings) if written else []
        if problems:
            raise InputError(*problems)
        return settings

    def find_weights(self, recipe: Recipe) -> tuple[CheckpointFacts | None, str]:
        """Return facts of a given checkpoint, and the missing file that is waited for."""
        weights = recipe.source.weights
        given = [weights.path is not None, weights.url is not None, weights.random]
        at: KeyPath = ("source", "weights")
        if given.count(True) != 1:
            message = "`weights` needs one of `path` and `url`, or the word random"
            raise InputError(self.scope.locate(at, message))
        if weights.random:
            return None, ""
        name = weights.path or weights.url or ""
        family = network(recipe.source.family)
        runs_code = family is not None or name.endswith(checkpoint_suffixes())
        if weights.sha256 is None and (weights.url or runs_code):
            why = (
                "loading a checkpoint runs code"
                if weights.path
                else "the file on the server can change"
            )
            found = self.workspace / name
            if not weights.path:
                hint = "run `buildsys pin`, which fetches the file and writes the digest"
            elif os.path.isfile(found):
                hint = f"write `sha256: {self.around.digest(found)}`, or run `buildsys pin`"
            else:
                hint = f"{name} does not exist; put it there, then run `buildsys pin`, which writes the digest"
            message = f"`weights` needs a `sha256`: {why}"
            raise InputError(self.scope.locate(at, message, hint))
        if weights.path is None:
            return None, ""
        return self._given_weights(weights.path, weights.sha256, recipe.source)

    def _given(self, recipe: Recipe) -> GivenFile | None:
        """Return a finished file, opened; None if it is missing, or the source is a network."""
        form, label = source_format(recipe.source.family), recipe.source.weights.path
        path = self.workspace / (label or "")
        if form == Format.CHECKPOINT or not label or not os.path.isfile(path):
            return None
        with self._reading_weights(label):
            found = read_given(path, form)
            checked(found.stated)
        return found

    def _given_weights(
        self, label: str, sha256: str | None, source: SourceModel
    ) -> tuple[CheckpointFacts | None, str]:
        """Like `find_weights`, for a file of the workspace."""
        path, at = self.workspace / label, ("source", "weights")
        self.read.add(path)
        if not label or os.path.isdir(path):
            what = f"{label} is a directory" if label else "`path` is empty"
            raise InputError(self.scope.locate((*at, "path"), f"{what}; `weights` is one file"))
        if not os.path.isfile(path):
            self.read.add(self.workspace / "buildsys.lock")
            known = self.around.recorded.content(f"model {label}")
            if known is None or sha256 not in (None, known.digest):
                return None, label
            return recall_checkpoint(known.facts), ""
        if sha256 is not None and (digest := self.around.digest(path)) != sha256:
            message = f"{label} has a different sha256: {digest}"
            hint = "if the file is the right one, write this digest here"
            raise InputError(self.scope.locate((*at, "sha256"), message, hint))
        if source_format(source.family) != Format.CHECKPOINT:
            return None, ""  # see `_given`
        return self._checkpoint(path, label, source), ""

    def _checkpoint(self, path: Path, label: str, source: SourceModel) -> CheckpointFacts | None:
        """Return the facts of a checkpoint that has no untrusted code."""
        with self._reading_weights(label):
            found = read_checkpoint(path, source.family, trust=source.trust == "code")
        if found.code.listed:
            message = f"{label} {describe_code(found.code)}"
            hint = code_hint(found.code, holds_objects(source.family))
            raise InputError(self.scope.locate(_WEIGHTS, message, hint))
        return found.facts

    @contextlib.contextmanager
    def _reading_weights(self, label: str) -> Iterator[None]:
        """Raise InputError at the path of the weights if their file cannot be read or used."""
        try:
            yield
        except UnreadableModel as error:
            message = f"{label}: {error.what}"
            raise InputError(self.scope.locate(_WEIGHTS, message, error.hint)) from error
        except OSError as error:
            message = f"{label} cannot be read: {error.strerror}"
            raise InputError(self.scope.locate(_WEIGHTS, message)) from error
