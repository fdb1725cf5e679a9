"""Every build of a workspace: recipes times their targets, merged, validated, checked."""

import dataclasses
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from buildsys.authoring import checks
from buildsys.authoring.build import Build
from buildsys.authoring.document import Document, Path_, did_you_mean, read_document
from buildsys.authoring.facts import (
    CheckpointFacts,
    DatasetFacts,
    dataset_parts,
    read_checkpoint,
    read_dataset,
)
from buildsys.authoring.recipe import NAME, OVERRIDES, Recipe, TargetEntry
from buildsys.authoring.registry import find_step, kinds, shipped_targets, step_module
from buildsys.authoring.target import (
    Contract,
    Target,
    contract_files,
    read_contract,
    read_target,
    target_files,
    unknown,
)
from buildsys.authoring.validation import validate
from buildsys.errors import Diagnostic, InputError


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
        read=tuple(sorted(str(path) for path in loader.read)),
    )


@dataclass(frozen=True)
class _Scope:
    """Where the keys of one merged build were written."""

    document: Document
    entry: Path_

    def locate(self, path: Path_, *args: Any, **options: Any) -> Diagnostic:
        """At the place that decides: the deepest that was written, the override's before the base's."""
        nested = (*self.entry, *path)
        keys, depth = self.document.keys, len(self.entry)
        written = [
            sum(tuple(place[:end]) in keys for end in range(start + 1, len(place) + 1))
            for place, start in ((path, 0), (nested, depth))
        ]
        place = nested if self.entry and written[1] and written[1] >= written[0] else path
        return self.document.diagnose(place, *args, **options)

    def origins(self) -> dict[str, tuple[str, int]]:
        found: dict[str, tuple[str, int]] = {}
        for base in ((), self.entry):
            for path, mark in self.document.keys.items():
                if path[: len(base)] == base and path[len(base) : len(base) + 1] != ("targets",):
                    key = ".".join(str(part) for part in path[len(base) :])
                    found[key] = (self.document.path, mark.line)
            if not self.entry:
                break
        return found


class _Loader:
    def __init__(self, workspace: Path) -> None:
        self.workspace = workspace
        self.builds: list[Build] = []
        self.diagnostics: list[Diagnostic] = []
        self.read: set[Path] = set()
        self.targets = target_files(workspace)
        self.contracts = contract_files(workspace)

    def read_recipe(self, path: Path) -> None:
        """All builds of one recipe, or what is wrong with it."""
        self.read.add(path)
        try:
            document = read_document(path, self._label(path))
            entries = self._entries(document)
        except InputError as error:
            self.diagnostics += error.diagnostics
            return
        self._check_name(document, path)
        seen: dict[str, int] = {}
        for index, entry in entries:
            name = entry.as_ or entry.target
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
                document.diagnose(("targets",), message, did_you_mean("", self.targets))
            )
        entries = []
        for index, item in enumerate(items):
            plain = {"target": item} if isinstance(item, str) else item
            entry = validate(TargetEntry, plain, ("targets", index), document.diagnose)
            if isinstance(entry, list):
                self.diagnostics += entry
            else:
                entries.append((index, entry))
        return entries

    def _check_name(self, document: Document, path: Path) -> None:
        name = document.data.get("name")
        if not re.fullmatch(NAME, path.stem):
            message = (
                f"the file's name {path.stem} is no build name: small letters, digits, hyphens"
            )
            self.diagnostics.append(Diagnostic(path=document.path, message=message))
        elif isinstance(name, str) and name != path.stem:
            message = f"`name` is {name}, the file's name says {path.stem}"
            self.diagnostics.append(document.diagnose(("name",), message))

    def _read_build(self, document: Document, entry: TargetEntry, index: int, build: str) -> None:
        raw = {key: value for key, value in document.data.items() if key != "targets"}
        for key in OVERRIDES:
            value = getattr(entry, key)
            if value is not None:
                raw[key] = _merge(raw.get(key), value)
        scope = _Scope(document, ("targets", index))
        recipe = validate(Recipe, raw, (), scope.locate)
        if isinstance(recipe, list):
            self.diagnostics += recipe
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
        self, recipe: Recipe, entry: TargetEntry, index: int, build: str, scope: _Scope
    ) -> Build:
        board, folder, places = self._target(entry, index, scope)
        contract = self._contract(recipe, board, scope)
        origins = places | scope.origins()
        vela = {**(board.vela or {}), **(recipe.vela or {})} if board.vela else recipe.vela
        base = scope.document.data.get("input")
        train = self._settings("train", recipe.source.family, recipe.train, ("train",), scope)
        if train is not None and train.size is None and isinstance(base, dict):
            size = base.get("size")
            train = dataclasses.replace(train, size=max(size) if isinstance(size, list) else size)
        generator, facts, parts = self._dataset(recipe, scope)
        checkpoint, waiting = self._weights(recipe, scope)
        return Build(
            id=build, recipe=recipe, target=board, target_folder=folder, contract=contract,
            train=train,
            export=self._settings(
                "export", recipe.source.family, recipe.export or {}, ("export",), scope
            ),
            vela=self._settings("compile", "vela", vela, ("vela",), scope),
            generator=generator, dataset=facts, dataset_parts=parts, checkpoint=checkpoint,
            waiting_for=waiting,
            origins=tuple(sorted((key, *place) for key, place in origins.items())),
        )  # fmt: skip

    def _target(
        self, entry: TargetEntry, index: int, scope: _Scope
    ) -> tuple[Target, Path, dict[str, tuple[str, int]]]:
        if entry.target not in self.targets:
            message, hint = unknown(entry.target, "target", self.targets)
            at: Path_ = ("targets", index)
            at = (*at, "target") if (*at, "target") in scope.document.values else at
            raise InputError(scope.document.diagnose(at, message, hint))
        path = self.targets[entry.target]
        self.read.add(path)
        board, document = read_target(path, self._label(path))
        places = {
            ".".join(map(str, key)): (document.path, mark.line)
            for key, mark in document.keys.items()
        }
        return board, path.parent, places

    def _contract(self, recipe: Recipe, board: Target, scope: _Scope) -> Contract | None:
        name = recipe.firmware
        if name is None and recipe.source.task is not None:
            name = board.firmware.get(recipe.source.task)
        if name is None or name == "unchecked":
            return None
        if name not in self.contracts:
            message, hint = unknown(name, "firmware contract", self.contracts)
            raise InputError(scope.locate(("firmware",), message, hint))
        path = self.contracts[name]
        self.read.add(path)
        return read_contract(path, self._label(path))

    def _settings(self, verb: str, kind: str, data: Any, at: Path_, scope: _Scope) -> Any:
        """Settings of the step `<verb>_<kind>`; None where there is no block or no such step."""
        module = find_step(verb, kind)
        if data is None or module is None:
            return None
        settings = validate(module.Settings, data, at, scope.locate)
        if isinstance(settings, list):
            raise InputError(*settings)
        return settings

    def _dataset(
        self, recipe: Recipe, scope: _Scope
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
        if not path.is_file():
            message = f"{block.path} does not exist"
            hint = f"it is looked for from the workspace's root; {_near(path)}".rstrip("; ")
            raise InputError(scope.locate(("dataset", "path"), message, hint))
        self.read.add(path)
        facts = read_dataset(path, block.path)
        return None, facts, dataset_parts(facts)

    def _weights(self, recipe: Recipe, scope: _Scope) -> tuple[CheckpointFacts | None, str]:
        """Facts of a given checkpoint, and the file that is waited for when it is not here."""
        weights = recipe.source.weights
        given = [weights.path is not None, weights.url is not None, weights.random]
        at: Path_ = ("source", "weights")
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
        if not path.is_file():
            return None, weights.path
        return read_checkpoint(path), ""

    def _label(self, path: Path) -> str:
        if path.is_relative_to(self.workspace):
            return str(path.relative_to(self.workspace))
        return f"targets/{path.relative_to(shipped_targets())}"


def _merge(base: Any, override: Any) -> Any:
    """Key by key; lists replace; null removes."""
    if not isinstance(base, dict) or not isinstance(override, dict):
        return override
    merged = dict(base)
    for key, value in override.items():
        if value is None:
            merged.pop(key, None)
        else:
            merged[key] = _merge(merged.get(key), value)
    return merged


def _near(path: Path) -> str:
    siblings = [p.name for p in path.parent.iterdir()] if path.parent.is_dir() else []
    return did_you_mean(path.name, siblings)


def _digest(path: Path) -> str:
    from buildsys.digest import digest_file

    return digest_file(path)
