"""The result of examining data: labelled, with its `dataset` block, or images alone."""

import dataclasses
from dataclasses import dataclass

from buildsys.authoring.datasets.blocks import Split
from buildsys.authoring.datasets.data_yaml import MissingPart
from buildsys.authoring.datasets.facts import DatasetFacts
from buildsys.errors import Diagnostic, InputError
from buildsys.steps.lib.datasets import prepared

_SHARE = Split(val=0.2, seed=0)
"""How a dataset without a val split is divided."""
_COMMENT = "   # "


@dataclass(frozen=True, kw_only=True)
class LabelledData:
    """The keys of the `dataset` block, some with a comment, and the facts of the data.

    `shares`: how the block divides its train split; None if it does not. `outlines`: where labels
    are longer than a box.
    """

    keys: tuple[str, ...]
    facts: DatasetFacts
    shares: Split | None = None
    outlines: Diagnostic | None = None

    @property
    def block(self) -> str:
        """Return the block for a recipe: one key per line if there are more than two."""
        if len(self.keys) > 2 or self.keys[:1] == ("format: coco",):
            return "\n".join(["dataset:", *(f"  {key}" for key in self.keys)])
        return self.line

    @property
    def line(self) -> str:
        """Return the block in one line, without comments."""
        return f"dataset: {{{', '.join(key.partition(_COMMENT)[0] for key in self.keys)}}}"


@dataclass(frozen=True, kw_only=True)
class Images:
    """Images without labels: the pattern that finds them, and their paths from the given folder."""

    pattern: str
    files: tuple[str, ...]


def labelled(
    facts: DatasetFacts, keys: tuple[str, ...], missing_parts: tuple[MissingPart, ...]
) -> LabelledData:
    """Return the data with its block; with only a train split, a share of it becomes val.

    Raises InputError where a val split is declared but missing, or both train and val are.
    """
    demand_splits(facts, missing_parts)
    if [name for name, _ in facts.splits] != ["train"]:
        return LabelledData(keys=keys, facts=facts)
    for part in missing_parts:
        if (part.split, part.what) == ("val", "images"):
            cure = "without this line, a share of train becomes val"
            hint = "; ".join(filter(None, (part.diagnostic.hint, cure)))
            raise InputError(dataclasses.replace(part.diagnostic, hint=hint))
    splits = prepared.places(("train", "val"), facts.format == "folders")
    shared = dataclasses.replace(facts, splits=splits)
    line = f"split: {{val: {_SHARE.val:g}, seed: {_SHARE.seed}}}"
    return LabelledData(keys=(*keys, line), facts=shared, shares=_SHARE)


def demand_splits(facts: DatasetFacts, missing_parts: tuple[MissingPart, ...]) -> None:
    """Raise InputError if neither train nor val exists, and one of them is declared.

    A recipe that is written without splits would measure nothing after the mistake is corrected.
    """
    if facts.split("train") is not None or facts.split("val") is not None:
        return
    missing = [part for part in missing_parts if part.what == "images"]
    if any(part.split in ("train", "val") for part in missing):
        raise InputError(*(part.diagnostic for part in missing))
