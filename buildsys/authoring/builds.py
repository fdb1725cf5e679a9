"""Every build of a workspace: recipes times their targets, merged, validated, checked."""

import dataclasses
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from buildsys.authoring import checks
from buildsys.authoring.boards import Board, Boards, check_vela
from buildsys.authoring.build import Build
from buildsys.authoring.confinement import check_paths
from buildsys.authoring.document import Document, KeyPath, did_you_mean, read_document
from buildsys.authoring.facts import (
    CheckpointFacts,
    DatasetFacts,
    dataset_parts,
    read_checkpoint,
    read_dataset,
)
from buildsys.authoring.names import name_problem
from buildsys.authoring.pictures import matches_anything, split_glob
from buildsys.authoring.pipelines import UnfitError, follow
from buildsys.authoring.recipe import NAME, InputBlock, Recipe, TargetEntry
from buildsys.authoring.registry import find_step, kinds, step_module
from buildsys.authoring.scope import Scope, merge, merge_entry
from buildsys.authoring.target import Contract, Target
from buildsys.authoring.validation import validate
from buildsys.errors import Diagnostic, InputError

_MOST_TARGETS = 300


@dataclass(frozen=True, kw_only=True)
class Loaded:
    """The builds that can be planned, and everything that is wrong with the others."""

    builds: tuple[Build, ...]
    diagnostics: tuple[Diagnostic, ...]
    read: tuple[str, ...]
    """Absolute paths of the files that were read: what a cached plan depends on."""


def load(workspace: Path) -> Loaded:
    """Read every recipe. Mistakes are collected, one message each; a broken recipe stops no other."""
    loader = _Loader(workspace)
    recipes = sorted((workspace / "recipes").glob("*.yaml"))
    if not recipes:
        message = "there is no recipe here"
        hint = "write recipes/NAME.yaml; the README shows one"
        problem = Diagnostic(path="recipes", message=message, hint=hint)
        return Loaded(builds=(), diagnostics=(problem,), read=())
    for path in recipes:
        if not path.name.startswith("_"):
            loader.read_recipe(path)
    unique = {(d.path, d.line, d.column, d.message): d for d in loader.diagnostics}
    return Loaded(
        builds=tuple(sorted(loader.builds, key=lambda build: build.id)),
        diagnostics=tuple(sorted(unique.values())),
        read=tuple(sorted(str(path) for path in loader.read | loader.boards.read)),
    )


class _Loader:
    def __init__(self, workspace: Path) -> None:
        self.workspace = workspace
        self.builds: list[Build] = []
        self.diagnostics: list[Diagnostic] = []
        self.read: set[Path] = set()
        self.boards = Boards(workspace)
        self.diagnostics += self.boards.taken_names()

    def read_recipe(self, path: Path) -> None:
        """All builds of one recipe, or what is wrong with it."""
        self.read.add(path)
        try:
            document = read_document(path, f"recipes/{path.name}")
            entries = self._entries(document)
        except InputError as error:
            self.diagnostics += error.diagnostics
            return
        if not self._check_name(document, path):
            return  # every build would be told of the name once more
        seen: dict[str, int] = {}
        for index, entry in entries:
            name = entry.as_ or entry.target
            if entry.as_ and (problem := name_problem(name)):
                self.diagnostics.append(document.diagnose(("targets", index, "as"), *problem))
                continue
            if name in seen:
                message = f"a second build called `{name}`"
                hint = "give it a name of its own with `as`"
                self.diagnostics.append(document.diagnose(("targets", index), message, hint))
                continue
            seen[name] = index
            self._read_build(document, entry, index, f"{path.stem}@{name}")

    def _entries(self, document: Document) -> list[tuple[int, TargetEntry]]:
        data = document.data
        if not isinstance(data, dict):
            raise InputError(document.diagnose((), "a recipe is a block of `key: value` lines"))
        items = data.get("targets")
        if not isinstance(items, list) or not items:
            message = "`targets` lists what to build for"
            raise InputError(
                document.diagnose(("targets",), message, did_you_mean("", self.boards.targets))
            )
        if len(items) > _MOST_TARGETS:
            message = f"`targets` lists {len(items)} builds"
            hint = f"at most {_MOST_TARGETS} in one recipe"
            raise InputError(document.diagnose(("targets", _MOST_TARGETS), message, hint))
        entries = []
        for index, item in enumerate(items):
            plain = {"target": item} if isinstance(item, str) else item
            entry = validate(TargetEntry, plain, ("targets", index), document.diagnose)
            if isinstance(entry, list):
                self.diagnostics += entry
            else:
                entries.append((index, entry))
        return entries

    def _check_name(self, document: Document, path: Path) -> bool:
        """Whether the file's name can be a build's."""
        name = document.data.get("name")
        if not re.fullmatch(NAME, path.stem):
            message = (
                f"the file's name {path.stem} is no build name: small letters, digits, hyphens"
            )
            self.diagnostics.append(Diagnostic(path=document.path, message=message))
            return False
        if problem := name_problem(path.stem):
            self.diagnostics.append(document.diagnose(("name",), *problem))
            return False
        if isinstance(name, str) and name != path.stem and re.fullmatch(NAME, name):
            message = f"`name` is {name}, the file's name says {path.stem}"
            self.diagnostics.append(document.diagnose(("name",), message))
        return True

    def _read_build(self, document: Document, entry: TargetEntry, index: int, build: str) -> None:
        raw = merge_entry(document.data, entry)
        scope = Scope(document, ("targets", index))
        recipe = validate(Recipe, raw, (), scope.locate)
        if isinstance(recipe, list):
            self.diagnostics += recipe
            return
        outside = check_paths(self.workspace, recipe, scope.locate)
        if outside:
            self.diagnostics += outside
            return
        try:
            found = self._assemble(recipe, entry, index, build, scope)
        except InputError as error:
            self.diagnostics += error.diagnostics
            return
        problems = checks.check(found, scope.locate, index)
        self.diagnostics += problems
        if not any(problem.severity == "error" for problem in problems):
            self.builds.append(found)

    def _assemble(
        self, recipe: Recipe, entry: TargetEntry, index: int, build: str, scope: Scope
    ) -> Build:
        board = self._board(entry, index, scope)
        self._follow(recipe, board)
        contract = self._contract(recipe, board.target, scope)
        origins = board.origins() | scope.origins()
        family = recipe.source.family
        export = self._settings("export", family, recipe.export or {}, ("export",), scope)
        generator, facts, parts = self._dataset(recipe, scope)
        checkpoint, waiting = self._weights(recipe, scope)
        return Build(
            id=build, recipe=recipe, target=board.target, target_folder=board.folder,
            contract=contract, train=self._train(recipe, scope), export=export, vela=self._vela(entry, board, scope),
            generator=generator, dataset=facts, dataset_parts=parts, checkpoint=checkpoint,
            waiting_for=waiting, pictures_found=self._pictures_found(recipe),
            origins=tuple(sorted((key, *place) for key, place in origins.items())),
        )  # fmt: skip

    def _train(self, recipe: Recipe, scope: Scope) -> Any:
        """Settings of the training, which happens at the recipe's own size for all its targets."""
        train = self._settings("train", recipe.source.family, recipe.train, ("train",), scope)
        base = scope.document.data.get("input")
        if train is None or train.size is not None or not isinstance(base, dict):
            return train
        if base.get("size") is None:
            return train
        own = validate(InputBlock, base, ("input",), scope.document.diagnose)
        if isinstance(own, list):
            raise InputError(*own)
        return dataclasses.replace(train, size=max(own.size))

    def _pictures_found(self, recipe: Recipe) -> bool:
        calibration = recipe.quantization.calibration
        if calibration is None or calibration.images is None:
            return True
        self.read.add(self.workspace / split_glob(calibration.images)[0])
        return matches_anything(self.workspace, calibration.images)

    def _board(self, entry: TargetEntry, index: int, scope: Scope) -> Board:
        if entry.target not in self.boards.targets:
            message = f"there is no target `{entry.target}`"
            at: KeyPath = ("targets", index)
            at = (*at, "target") if (*at, "target") in scope.document.values else at
            hint = did_you_mean(entry.target, self.boards.targets)
            raise InputError(scope.document.diagnose(at, message, hint))
        return self.boards.board(entry.target)

    def _follow(self, recipe: Recipe, board: Board) -> None:
        """The source's way through the pipeline, or what is wrong with it, at the target's step."""
        scheme = recipe.quantization.scheme
        if scheme not in board.target.pipelines and recipe.source.family != "tflite":
            return  # told by the checks
        try:
            follow(board.target, recipe)
        except UnfitError as error:
            at = ("pipelines", error.scheme, error.position)
            hint = f"a source of family {recipe.source.family} cannot go this way"
            raise InputError(board.document.diagnose(at, str(error), hint)) from error

    def _contract(self, recipe: Recipe, board: Target, scope: Scope) -> Contract | None:
        name = recipe.firmware
        if name is None and recipe.source.task is not None:
            name = board.firmware.get(recipe.source.task)
        if name is None or name == "unchecked":
            return None
        if name not in self.boards.contracts:
            hint = did_you_mean(name, self.boards.contracts)
            message = f"there is no firmware contract `{name}`"
            raise InputError(scope.locate(("firmware",), message, hint))
        return self.boards.contract(name)

    def _vela(self, entry: TargetEntry, board: Board, scope: Scope) -> Any:
        """The target's `vela` block with the entry's own settings; checked as a whole."""
        written = "vela" in entry.model_fields_set
        if board.target.vela is None:
            if written:
                message = f"`vela` has no effect: {board.target.name} does not run Vela"
                raise InputError(scope.locate(("vela",), message, key=True))
            return None
        if written and entry.vela is None:
            message = f"`vela` cannot be removed: {board.target.name} runs Vela"
            raise InputError(scope.locate(("vela",), message))
        merged = merge(board.target.vela, entry.vela) if written else board.target.vela
        settings = self._settings("compile", "vela", merged, ("vela",), scope)
        problems = check_vela(settings, board.folder, scope.locate) if written else []
        if problems:
            raise InputError(*problems)
        return settings

    def _settings(self, verb: str, kind: str, data: Any, at: KeyPath, scope: Scope) -> Any:
        """Settings of the step `<verb>_<kind>`; None where there is no block or no such step."""
        module = find_step(verb, kind)
        if data is None or module is None:
            return None
        settings = validate(module.Settings, data, at, scope.locate)
        if isinstance(settings, list):
            raise InputError(*settings)
        return settings

    def _dataset(
        self, recipe: Recipe, scope: Scope
    ) -> tuple[Any, DatasetFacts | None, tuple[str, ...]]:
        block = recipe.dataset
        if block is None:
            return None, None, ()
        extra = dict(block.model_extra or {})
        if block.generator is not None:
            if block.generator not in kinds("generate"):
                hint = did_you_mean(block.generator, kinds("generate"))
                message = f"there is no generator `{block.generator}`"
                raise InputError(scope.locate(("dataset", "generator"), message, hint))
            module = step_module(f"generate_{block.generator}")
            settings = self._settings("generate", block.generator, extra, ("dataset",), scope)
            known = module.facts(recipe.source.task or "detect")
            return settings, DatasetFacts(root="", **vars(known)), ()
        if extra:
            name = next(iter(extra))
            hint = did_you_mean(name, ("format", "path", "generator"))
            raise InputError(
                scope.locate(("dataset", name), f"unknown key `{name}`", hint, key=True)
            )
        if block.path is None:
            message = "`dataset` has a `path` or a `generator`"
            raise InputError(scope.locate(("dataset",), message, key=True))
        path = self.workspace / block.path
        # os.path throughout: Path raises where a name is too long
        if not os.path.isfile(path):
            message = f"{block.path} does not exist"
            hint = f"it is looked for from the workspace's root; {_near(path)}".rstrip("; ")
            raise InputError(scope.locate(("dataset", "path"), message, hint))
        self.read.add(path)
        facts = read_dataset(path, block.path, self.workspace)
        return None, facts, dataset_parts(facts)

    def _weights(self, recipe: Recipe, scope: Scope) -> tuple[CheckpointFacts | None, str]:
        """Facts of a given checkpoint, and the file that is waited for when it is not here."""
        weights = recipe.source.weights
        given = [weights.path is not None, weights.url is not None, weights.random]
        at: KeyPath = ("source", "weights")
        if given.count(True) != 1:
            message = "`weights` has one of `path` and `url`, or is the word random"
            raise InputError(scope.locate(at, message))
        if weights.random:
            return None, ""
        name = weights.path or weights.url or ""
        if weights.sha256 is None and (weights.url or name.endswith((".pt", ".pth"))):
            why = "loading it runs code" if weights.path else "what a server sends can change"
            found = self.workspace / name
            hint = f"sha256: {_digest(found)}" if weights.path and found.is_file() else ""
            message = f"`weights` needs a `sha256`: {why}"
            raise InputError(scope.locate(at, message, hint))
        if weights.path is None:
            return None, ""
        path = self.workspace / weights.path
        self.read.add(path)
        if not weights.path or os.path.isdir(path):
            what = f"{weights.path} is a folder" if weights.path else "`path` is empty"
            raise InputError(scope.locate((*at, "path"), f"{what}; `weights` is one file"))
        if not os.path.isfile(path):
            return None, weights.path
        if weights.sha256 is not None and (digest := _digest(path)) != weights.sha256:
            message = f"{weights.path} has another sha256: {digest}"
            hint = "if that file is the right one, write its digest here"
            raise InputError(scope.locate((*at, "sha256"), message, hint))
        return read_checkpoint(path), ""


def _near(path: Path) -> str:
    siblings = [p.name for p in path.parent.iterdir()] if os.path.isdir(path.parent) else []
    return did_you_mean(path.name, siblings)


def _digest(path: Path) -> str:
    from buildsys.digest import digest_file

    return digest_file(path)
