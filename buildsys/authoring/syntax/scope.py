"""Merged values from several places, and where each was written.

A recipe comes from its base, its own file, the variant of its matrix, the target's entry and the
workspace's named datasets; a target from the one that it extends and its own file.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from buildsys.authoring.syntax.document import Document, KeyPath
from buildsys.errors import Diagnostic


@dataclass(frozen=True, kw_only=True)
class Layer:
    """A part of a file: its value at `base` becomes the value at `prefix`.

    `leave_out`: top-level keys of the part that are ignored.
    """

    document: Document
    base: KeyPath = ()
    prefix: KeyPath = ()
    leave_out: tuple[str, ...] = ()

    @property
    def value(self) -> object:
        """Return the part's values, nested under its prefix."""
        value = self.document.get(*self.base)
        if isinstance(value, dict):
            value = {key: item for key, item in value.items() if key not in self.leave_out}
        for part in reversed(self.prefix):
            value = {part: value}
        return value

    def place(self, path: KeyPath) -> tuple[KeyPath, float]:
        """Return where this part writes `path`, and how many keys of the path are written there."""
        if self.prefix[: len(path)] == path and len(path) < len(self.prefix):
            # a part that writes `input.size` also has `input`, but not as a block
            return self.base, len(path) - 0.5
        if path[: len(self.prefix)] != self.prefix:
            return (), 0
        depth = len(self.prefix)
        place = (*self.base, *path[depth:])
        written = sum(
            place[:end] in self.document.values for end in range(len(self.base) + 1, len(place) + 1)
        )
        return place, depth + written


@dataclass(frozen=True, kw_only=True)
class Scope:
    """Layers; a later one overrides an earlier one."""

    layers: tuple[Layer, ...]

    def merged(self) -> dict[str, object]:
        """Return the values of all layers merged."""
        values = [layer.value for layer in self.layers]
        merged = values[0]
        for value in values[1:]:
            merged = merge(merged, value)
        return dict(merged) if isinstance(merged, dict) else {}

    def locate(
        self,
        path: KeyPath,
        message: str,
        hint: str = "",
        key: bool = False,
        severity: str = "error",
    ) -> Diagnostic:
        """Return a diagnostic at the place that decides: the deepest one, of the last layer
        first.
        """
        best, most = self.layers[-1], -1.0
        place: KeyPath = ()
        for layer in self.layers:
            found, written = layer.place(path)
            if written and written >= most:
                best, place, most = layer, found, written
        if most < 0:  # written nowhere: it belongs in the file itself, not in one that it extends
            whole = [layer for layer in self.layers if not layer.base and not layer.prefix]
            best, place = whole[-1], path
        return best.document.diagnose(place, message, hint, key, severity)

    def holds(self, path: KeyPath) -> bool:
        """Return whether any layer has exactly this path."""
        return self.home(path) is not None

    def home(self, path: KeyPath) -> Layer | None:
        """Return the layer whose value of `path` counts; None if no layer has one."""
        found = [layer for layer in self.layers if layer.place(path)[1] == len(path)]
        return found[-1] if found else None

    def origins(self) -> dict[str, tuple[str, int]]:
        """Return the file and line of every key, by the last layer that has it."""
        found: dict[str, tuple[str, int]] = {}
        for layer in self.layers:
            for path, line in _lines(layer):
                found[".".join(map(str, path))] = (layer.document.path, line)
        return found

    def over(self, *layers: Layer) -> "Scope":
        """Return a scope with more layers on top."""
        return Scope(layers=(*self.layers, *layers))


def _lines(layer: Layer) -> Iterable[tuple[KeyPath, int]]:
    size = len(layer.base)
    if layer.prefix:
        yield layer.prefix, layer.document.values[layer.base].line
    for path, mark in layer.document.keys.items():
        if path[:size] == layer.base and path[size:] and path[size] not in layer.leave_out:
            yield (*layer.prefix, *path[size:]), mark.line


def merge(base: object, override: object) -> object:
    """Merge key by key; lists replace; null removes."""
    if not isinstance(base, dict) or not isinstance(override, dict):
        return override
    merged = dict(base)
    for key, value in override.items():
        if value is None:
            merged.pop(key, None)
        else:
            merged[key] = merge(merged.get(key), value)
    return merged
