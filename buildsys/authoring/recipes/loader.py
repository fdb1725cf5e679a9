"""Loads every build of a workspace: recipes times variants times targets, merged and checked."""

import dataclasses
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from buildsys.authoring.datasets import folder_sets, image_counts, trees
from buildsys.authoring.datasets.coco_sets import Known
from buildsys.authoring.datasets.dataset import KnownData
from buildsys.authoring.recipes import checks
from buildsys.authoring.recipes.assembly import Assembler
from buildsys.authoring.recipes.build import Build, Selection
from buildsys.authoring.recipes.gates import check_selection
from buildsys.authoring.recipes.other_mistakes import other_mistakes
from buildsys.authoring.recipes.recipe import Recipe, Select, TargetEntry
from buildsys.authoring.recipes.reserved_names import name_problem
from buildsys.authoring.recipes.variants import STRUCTURE, Variant, variants
from buildsys.authoring.recipes.warnings import check_count, check_measured, find_warnings
from buildsys.authoring.syntax.document import Document, parse_document, read_document
from buildsys.authoring.syntax.scope import Layer, Scope
from buildsys.authoring.syntax.validation import nearest_key, parse
from buildsys.authoring.syntax.values import NAME
from buildsys.authoring.targets.lookup import Boards
from buildsys.authoring.workspace import WorkspaceFile, read_workspace_file
from buildsys.digest import digest_file
from buildsys.errors import Diagnostic, InputError, shorten
from buildsys.files import yaml_files
from buildsys.lockfile import Lock
from buildsys.text import did_you_mean

_MOST_TARGETS = 300
"""Entries of `targets` in one recipe."""
_MOST_BUILDS = 2000
"""Builds of one recipe: targets times variants. `check` reads each of them."""


@dataclass(frozen=True, kw_only=True)
class Unwritten:
    """Texts that are checked before they are written.

    Recipes are keyed by the path that they will have; also buildsys.yaml.
    """

    recipes: Mapping[Path, str] = field(default_factory=dict)
    workspace_file: str | None = None


@dataclass(frozen=True, kw_only=True)
class LoadedRecipe:
    """One recipe's builds that can be planned, and the mistakes in the others.

    `read`: absolute paths of the files that were read or looked up; a cached plan depends on them.
    """

    name: str
    builds: tuple[Build, ...]
    selections: tuple[Selection, ...]
    diagnostics: tuple[Diagnostic, ...]
    read: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class _Entry:
    """One entry of `targets`, with its file and place."""

    index: int
    entry: TargetEntry
    layers: tuple[Layer, ...]

    @property
    def name(self) -> str:
        """Return the part of the build's id after the @."""
        return self.entry.as_ or self.entry.target


class Loader:
    """Reads recipes one by one; mistakes are collected, one message each."""

    def __init__(
        self,
        workspace: Path,
        recorded: Lock,
        datasets: Path,
        unwritten: Unwritten | None = None,
    ) -> None:
        self.workspace, self.datasets = workspace, datasets
        """`datasets`: where archives are unpacked, by digest."""
        self._unwritten = unwritten or Unwritten()
        self.boards = Boards(workspace)
        self.diagnostics = tuple(self.boards.taken_names())
        """Mistakes of the workspace itself."""
        try:
            text = self._unwritten.workspace_file
            self.file, self._document = read_workspace_file(workspace, text)
        except InputError as error:
            self.diagnostics += error.diagnostics
            self.file, self._document = WorkspaceFile(), None
        self.recorded = recorded
        self._documents: dict[Path, Document] = {}
        self.sheets: Known = {}
        """Annotation files read in this run."""
        self.folders: folder_sets.Known = {}
        """Dataset folders read in this run."""
        self.trees: trees.Known = {}
        """Mistakes of folders checked in this run."""
        self.counts: image_counts.Known = {}
        """Splits whose images were counted in this run."""
        self.data: KnownData = {}
        """Data found for other builds."""
        self.digest = cache(digest_file)

    def recipe(self, path: Path) -> LoadedRecipe:
        """Return all builds of one recipe, or its mistakes."""
        reading = _Reading(self, path)
        try:
            reading.read()
        except InputError as error:
            reading.problems += error.diagnostics
        unique: dict[tuple[str, int, int, str], Diagnostic] = {}
        for found in reading.problems:  # the first one has the better hint
            unique.setdefault((found.path, found.line, found.column, found.message), found)
        return LoadedRecipe(
            name=path.stem,
            builds=tuple(reading.builds),
            selections=tuple(reading.selections),
            diagnostics=tuple(sorted(unique.values())),
            read=tuple(sorted(str(path) for path in reading.files)),
        )

    def document(self, path: Path) -> Document:
        """Return the file of a recipe or base, or a draft's text, parsed once.

        Raises InputError.
        """
        if path not in self._documents:
            label = f"recipes/{path.name}"
            draft = self._unwritten.recipes.get(path)
            self._documents[path] = (
                read_document(path, label) if draft is None else parse_document(draft, label)
            )
        return self._documents[path]

    def named_dataset(self, name: str, scope: Scope) -> Layer:
        """Return a dataset of buildsys.yaml as a layer over the recipe. Raises InputError."""
        if self._document is None or name not in self.file.datasets:
            hint = did_you_mean(name, self.file.datasets)
            hint = hint or f"name it in buildsys.yaml: datasets: {{{shorten(name)}: {{path: …}}}}"
            message = f"buildsys.yaml names no dataset `{shorten(name)}`"
            raise InputError(scope.locate(("dataset",), message, hint))
        return Layer(document=self._document, base=("datasets", name), prefix=("dataset",))


class _Reading:
    """One recipe being read."""

    def __init__(self, loader: Loader, path: Path) -> None:
        self.loader, self.path = loader, path
        self.builds: list[Build] = []
        self.selections: list[Selection] = []
        self.problems: list[Diagnostic] = []
        self.files: set[Path] = {path}
        self._assemblers: dict[str, Assembler] = {}
        """By the variant's name, for targets that set no keys themselves."""

    def read(self) -> None:
        """Read all builds. Raises InputError for a mistake that leaves none."""
        own = self._own_scope()
        try:
            entries = self._entries(own)
        except InputError as error:
            others = self._without_target(own)
            written = own.merged()
            misspelt = any(nearest_key(Recipe, (key,)) == "targets" for key in written)
            if others and misspelt and "targets" not in written:
                raise InputError(*others) from error
            raise InputError(*error.diagnostics, *others) from error
        if not self._check_name(own):
            return  # every build would report the name again
        select = self._select(own)
        combined = variants(own)
        count = len(entries) * len(combined)
        if count > _MOST_BUILDS:
            message = f"`matrix` and `targets` make {count} builds; a recipe can have at most {_MOST_BUILDS}"
            raise InputError(own.locate(("targets",), message, "write several recipes", key=True))
        for entry in self._distinct(own, entries):
            self._read_entry(own, entry, combined, select)

    def _without_target(self, own: Scope) -> list[Diagnostic]:
        """Return further mistakes in a recipe whose targets cannot be read."""
        scope = self._root(own)
        assembler = Assembler(self.loader, scope, scope, self.files)
        if "matrix" in own.merged() or isinstance(assembler.raw.get("dataset"), str):
            return []  # variants or buildsys.yaml complete it
        return other_mistakes(assembler)

    def _own_scope(self) -> Scope:
        """Return the recipe merged with its base."""
        document = self.loader.document(self.path)
        if not isinstance(document.data, dict):
            raise InputError(document.diagnose((), "a recipe is a block of `key: value` lines"))
        layers = [Layer(document=document)]
        base = document.data.get("extends")
        if base is not None:
            layers.insert(0, Layer(document=self._base(document, base), leave_out=("name",)))
        return Scope(layers=tuple(layers))

    def _base(self, document: Document, name: object) -> Document:
        """Return the recipe that `document` extends. Raises InputError if it cannot be extended."""
        folder = self.path.parent
        known = yaml_files(folder).keys() - {self.path.stem}
        if name == self.path.stem:
            raise InputError(document.diagnose(("extends",), "a recipe cannot extend itself"))
        if not isinstance(name, str) or name not in known:
            words = name.removesuffix(".yaml") if isinstance(name, str) else ""
            message = f"`extends` names recipes/{shorten(words)}.yaml, which does not exist"
            if words != name:
                message = "`extends` takes the name of a file in recipes/, without .yaml"
            hint = did_you_mean(words, known)
            raise InputError(document.diagnose(("extends",), message, hint))
        self.files.add(folder / f"{name}.yaml")
        base = self.loader.document(folder / f"{name}.yaml")
        if not isinstance(base.data, dict):
            raise InputError(base.diagnose((), "a base is a block of `key: value` lines"))
        if base.data.get("extends") is not None:
            message = f"{base.path} extends {base.data['extends']}; only one level is allowed"
            hint = "copy the keys that it takes from there"
            raise InputError(document.diagnose(("extends",), message, hint))
        return base

    def _entries(self, own: Scope) -> list[_Entry]:
        """Return the valid entries of `targets`; mistakes in the others are reported.

        Raises InputError without a list of entries.
        """
        items = own.merged().get("targets")
        if not isinstance(items, list) or not items:
            message = "`targets` must list at least one target"
            hint = self.loader.boards.suggest("")
            raise InputError(own.locate(("targets",), message, hint))
        if len(items) > _MOST_TARGETS:
            message = f"`targets` lists {len(items)} builds"
            hint = f"a recipe can have at most {_MOST_TARGETS}"
            raise InputError(own.locate(("targets", _MOST_TARGETS), message, hint))
        home = own.home(("targets",))
        assert home is not None
        entries = []
        for index, item in enumerate(items):
            plain = {"target": item} if isinstance(item, str) else item
            try:
                entry = parse(TargetEntry, plain, ("targets", index), home.document.diagnose)
            except InputError as error:
                self.problems += error.diagnostics
                continue
            at, words = ("targets", index), ("target", "as")
            layer = Layer(document=home.document, base=at, leave_out=words)
            layers = (layer,) if isinstance(item, dict) else ()
            entries.append(_Entry(index=index, entry=entry, layers=layers))
        return entries

    def _check_name(self, own: Scope) -> bool:
        """Return whether the file's name can be part of a build's id; reports what is wrong with it
        and with `name`.
        """
        name, stem = own.merged().get("name"), self.path.stem
        path = own.layers[-1].document.path
        if not re.fullmatch(NAME, stem):
            message = f"the file name {stem} is not a recipe name: use lowercase letters, digits and hyphens"
            self.problems.append(Diagnostic(path=path, message=message))
            return False
        if problem := name_problem(stem):
            self.problems.append(own.locate(("name",), *problem))
            return False
        if isinstance(name, str) and name != stem and re.fullmatch(NAME, name):
            message = f"`name` is {name}, but the file is named {stem}.yaml"
            self.problems.append(own.locate(("name",), message))
        return True

    def _distinct(self, own: Scope, entries: list[_Entry]) -> list[_Entry]:
        """Return the entries with a name of their own; the others are reported."""
        found: dict[str, _Entry] = {}
        for entry in entries:
            if entry.entry.as_ and (problem := name_problem(entry.name)):
                self.problems.append(own.locate(("targets", entry.index, "as"), *problem))
            elif entry.name in found:
                message = f"duplicate build name `{entry.name}`"
                hint = "give one of them another name with `as`"
                self.problems.append(own.locate(("targets", entry.index), message, hint))
            else:
                found[entry.name] = entry
        return list(found.values())

    def _read_entry(
        self, own: Scope, entry: _Entry, combined: tuple[Variant, ...], select: Select | None
    ) -> None:
        """Read the builds of all variants for one target, and the selection among them."""
        candidates = []
        for variant in combined:
            name = "-".join(filter(None, (self.path.stem, variant.name)))
            build = f"{name}@{entry.name}"
            candidates.append(build)
            try:
                self._read_build(own, variant, entry, build)
            except InputError as error:
                self.problems += error.diagnostics
        if select is not None:
            key = "minimize" if select.maximize is None else "maximize"
            for found in [build for build in self.builds if build.id in candidates][:1]:
                self.problems += check_selection(select.metric, key, found, own.locate)
            self.selections.append(
                Selection(
                    id=f"{self.path.stem}@{entry.name}",
                    recipe=self.path.stem,
                    target=entry.entry.target,
                    candidates=tuple(candidates),
                    metric=select.metric,
                    maximize=select.maximize is not None,
                )
            )

    def _select(self, own: Scope) -> Select | None:
        """Return how to choose among the variants; None without `select`, or after a mistake in
        it, which is reported.
        """
        data = own.merged().get("select")
        if data is None:
            return None
        if own.merged().get("matrix") is None:
            message = "`select` needs a `matrix`"
            self.problems.append(own.locate(("select",), message, key=True))
            return None
        try:
            found = parse(Select, data, ("select",), own.locate)
        except InputError as error:
            self.problems += error.diagnostics
            return None
        if (found.maximize is None) == (found.minimize is None):
            message = "`select` needs one of `maximize` and `minimize`"
            hint = "for example select: {maximize: box.mAP50-95}"
            self.problems.append(own.locate(("select",), message, hint, key=True))
            return None
        return found

    def _root(self, own: Scope) -> Scope:
        """Return the recipe without the keys that define which builds exist."""
        return Scope(
            layers=tuple(
                dataclasses.replace(layer, leave_out=(*layer.leave_out, *STRUCTURE[1:]))
                for layer in own.layers
            )
        )

    def _assembler(self, own: Scope, variant: Variant, entry: _Entry) -> Assembler:
        """Return the assembler of a variant's builds; shared by targets that set no keys
        themselves.
        """
        known = None if entry.layers else self._assemblers.get(variant.name)
        if known is not None:
            return known
        root = self._root(own)
        scope = root.over(*variant.layers, *entry.layers)
        found = Assembler(self.loader, scope, root, self.files)
        dataset = found.raw.get("dataset")
        if isinstance(dataset, str):
            scope = scope.over(self.loader.named_dataset(dataset, scope))
            found = Assembler(self.loader, scope, root, self.files)
        if not entry.layers:
            self._assemblers[variant.name] = found
        return found

    def _read_build(self, own: Scope, variant: Variant, entry: _Entry, build: str) -> None:
        """Read and check one build, by its id. Raises InputError with every mistake found."""
        assembler = self._assembler(own, variant, entry)
        locate = assembler.scope.locate
        try:
            found = assembler.build(entry.entry, entry.index, build)
        except InputError as error:
            others = other_mistakes(assembler, (entry.entry, entry.index))
            raise InputError(*error.diagnostics, *others) from error
        problems = checks.check(found, locate, entry.index, self.loader.boards)
        if not any(problem.is_error for problem in problems):
            problems += check_measured(found, locate) + check_count(found, locate)
        else:
            problems += other_mistakes(assembler, (entry.entry, entry.index), problems)
        problems += find_warnings(found, locate)
        self.problems += problems
        if not any(problem.is_error for problem in problems):
            self.builds.append(found)
