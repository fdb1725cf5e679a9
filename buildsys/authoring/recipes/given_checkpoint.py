"""Reads a checkpoint that a recipe names: whether it is one, its facts, and the code it would run.

No framework opens the file, and nothing in it is executed.
"""

from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

from buildsys.authoring.recipes.families import holds_objects, network
from buildsys.files import stat_line
from buildsys.spec import CheckpointFacts
from buildsys.steps.lib.datasets.labels import is_class_name
from buildsys.steps.lib.families.pickled_code import NO_CODE, Code, find_untrusted
from buildsys.steps.lib.families.torch_file import checkpoint_problem
from buildsys.steps.lib.files.foreign import UnreadableModel

_LONGEST_NAME, _LONGEST_ARCHITECTURE = 200, 100
_MOST_CLASSES, _MOST_KEYPOINTS = 100_000, 1000
"""Far above the numbers of any known dataset."""


@dataclass(frozen=True, kw_only=True)
class GivenCheckpoint:
    """A checkpoint's content.

    `facts`: None if the file has none that are known; `code`: reasons not to trust it, see
    `find_untrusted`.
    """

    facts: CheckpointFacts | None
    code: Code = NO_CODE


def read_checkpoint(path: Path, family: str, trust: bool = False) -> GivenCheckpoint:
    """Read a file of a family; `trust` allows any code that can be loaded.

    Raises OSError, UnreadableModel.
    """
    return _read_once(path, family, trust, stat_line(path.stat()))


@lru_cache(maxsize=64)
def _read_once(path: Path, family: str, trust: bool, stat: str) -> GivenCheckpoint:
    """Read once for all builds that name the file; `stat` changes when the file does."""
    if problem := checkpoint_problem(path):
        raise UnreadableModel(*problem)
    found = network(family)
    code = find_untrusted(path, objects=holds_objects(family), trusted=trust)
    facts = found.read_checkpoint(path) if found is not None else None
    return GivenCheckpoint(facts=checked(facts), code=code)


def checked(facts: CheckpointFacts | None) -> CheckpointFacts | None:
    """Return a file's facts if steps and people can use them. Raises UnreadableModel."""
    if facts is None:
        return None
    again = "train or export it with other names"
    for index, name in enumerate(facts.names[:_MOST_CLASSES]):
        if len(name) > _LONGEST_NAME:
            raise UnreadableModel(f"the name of its class {index} has {len(name)} letters", again)
        if not is_class_name(name):
            what = f"the name of its class {index} is not a single line of text: {name[:40]!a}"
            raise UnreadableModel(what, again)
    if len(facts.names) > _MOST_CLASSES:
        raise UnreadableModel(f"it has {len(facts.names)} classes; at most {_MOST_CLASSES}")
    if not (0 <= facts.keypoints <= _MOST_KEYPOINTS and facts.keypoint_dims in (0, 2, 3)):
        what = f"it has {facts.keypoints} keypoints of {facts.keypoint_dims} values"
        raise UnreadableModel(what, f"at most {_MOST_KEYPOINTS}, of 2 or 3 values each")
    name = facts.architecture
    usable = name.isprintable() and len(name) <= _LONGEST_ARCHITECTURE
    return facts if usable else replace(facts, architecture="")
