"""Gates on the accuracy of one class, which no build can pass if the measured split lacks it."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from buildsys.authoring.recipes.build import Build
from buildsys.authoring.recipes.gates import class_of, describe_rejected
from buildsys.errors import Diagnostic


@dataclass(frozen=True, kw_only=True)
class GatedClass:
    """A gate of a recipe on one class, and the split that is measured."""

    recipe: str
    metric: str
    split: str
    name: str


def find_gated(builds: Iterable[Build]) -> tuple[GatedClass, ...]:
    """Return the gates on single classes, without those whose objects `check` itself can count."""
    found: dict[GatedClass, None] = {}
    for build in builds:
        evaluate, facts = build.recipe.evaluate, build.dataset
        if facts is None or facts.absent or build.split is not None or not evaluate.measure:
            continue
        for metric in evaluate.gates:
            name = class_of(metric, facts.names)
            if name:
                recipe, split = build.recipe.name, evaluate.split
                found[GatedClass(recipe=recipe, metric=metric, split=split, name=name)] = None
    return tuple(found)


def find_rejecting(
    gated: Iterable[GatedClass], objects: Mapping[str, Mapping[str, int]]
) -> Iterator[Diagnostic]:
    """Yield a warning for each gate that rejects its builds. `objects`: by split and class."""
    for gate in gated:
        counts = objects.get(gate.split, {})
        if any(counts.values()) and not counts.get(gate.name):
            message, hint = describe_rejected(gate.split, gate.name)
            message = f"gate `{gate.metric}`: {message}"
            yield Diagnostic(path=gate.recipe, message=message, hint=hint, severity="warning")
