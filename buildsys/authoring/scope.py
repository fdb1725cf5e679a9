"""A recipe and one target entry as one: merged values, and where each of them was written."""

from dataclasses import dataclass
from typing import Any

from buildsys.authoring.document import Document, KeyPath
from buildsys.authoring.recipe import OVERRIDES, TargetEntry
from buildsys.errors import Diagnostic


@dataclass(frozen=True)
class Scope:
    """Where the keys of one merged build were written."""

    document: Document
    entry: KeyPath

    def locate(self, path: KeyPath, *args: Any, **options: Any) -> Diagnostic:
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
        """The file and line of every key, the entry's before the recipe's."""
        found: dict[str, tuple[str, int]] = {}
        for base in ((), self.entry):
            for path, mark in self.document.keys.items():
                if path[: len(base)] == base and path[len(base) : len(base) + 1] != ("targets",):
                    key = ".".join(str(part) for part in path[len(base) :])
                    found[key] = (self.document.path, mark.line)
            if not self.entry:
                break
        return found


def merge_entry(recipe: dict[str, Any], entry: TargetEntry) -> dict[str, Any]:
    """The recipe's blocks as one target sees them; a block that the entry sets to null is gone."""
    merged = {key: value for key, value in recipe.items() if key != "targets"}
    for key in OVERRIDES:
        if key in entry.model_fields_set:
            value = getattr(entry, key)
            merged[key] = merge(merged.get(key), value)
            if value is None:
                del merged[key]
    return merged


def merge(base: Any, override: Any) -> Any:
    """Key by key; lists replace; null removes."""
    if not isinstance(base, dict) or not isinstance(override, dict):
        return override
    merged = dict(base)
    for key, value in override.items():
        if value is None:
            merged.pop(key, None)
        else:
            merged[key] = merge(merged.get(key), value)
    return merged
