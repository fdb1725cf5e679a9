"""Finds the family and the facts of a given model file; no framework opens it."""

import os
from dataclasses import dataclass
from pathlib import Path

from buildsys.authoring.recipes.families import (
    FILES,
    families_of,
    holds_objects,
    network,
    networks,
    source_format,
)
from buildsys.authoring.recipes.given_checkpoint import checked, read_checkpoint
from buildsys.authoring.recipes.given_file import GivenFile, UnreadableModel, read_given
from buildsys.authoring.scaffold.given_paths import inside
from buildsys.authoring.syntax.workspace_paths import hint_missing
from buildsys.digest import digest_file
from buildsys.errors import InputError
from buildsys.spec import CheckpointFacts
from buildsys.steps.lib.families.pickled_code import code_hint, describe_code
from buildsys.steps.lib.families.torch_file import checkpoint_problem


@dataclass(frozen=True, kw_only=True)
class Probe:
    """A model file inside the workspace; `path` is relative to its root, with slashes."""

    path: str
    family: str
    sha256: str
    checkpoint: CheckpointFacts | None
    given: GivenFile | None = None
    """The finished file, opened."""
    runs_code: bool = False
    """Whether it needs the trust that it was given."""


def probe(root: Path, given: str, trust: bool = False) -> Probe:
    """Return family, digest and, for a checkpoint, its pickle's facts; nothing in it is executed.

    `trust`: a checkpoint may run code when steps load it. Raises InputError with the mistake and
    what to do.
    """
    name = inside(root, given, "weights")
    path = root / name
    if os.path.isdir(path):
        raise InputError.at(given, "is a directory; give the model file in it")
    if not os.path.isfile(path):
        if os.path.exists(path):
            raise InputError.at(given, "is a pipe, a socket or a device; give the model file")
        raise InputError.at(given, "does not exist", hint_missing(path, name))
    families = families_of(path.suffix.lower())
    if not families:
        raise InputError.at(given, "does not have the ending of a model file", _endings())
    try:
        return _read(given, name, path, families, trust)
    except OSError as error:
        raise InputError.at(given, f"cannot be read: {error.strerror}") from error


def _endings() -> str:
    of_networks = {suffix for family in networks().values() for suffix in family.suffixes}
    return "there are: " + ", ".join([*sorted(of_networks), *(f".{name}" for name in FILES)])


def _read(given: str, name: str, path: Path, families: tuple[str, ...], trust: bool) -> Probe:
    """Return which of the families it belongs to, and its facts."""
    digest = digest_file(path)
    if network(families[0]) is None:
        try:
            found = read_given(path, source_format(families[0]))
            checked(found.stated)
        except UnreadableModel as error:
            raise InputError.at(given, error.what, error.hint) from error
        return Probe(
            path=name, family=families[0], sha256=digest, checkpoint=found.stated, given=found
        )
    family, checkpoint = _read_checkpoint(given, path, families, trust)
    runs_code = trust and _runs_code(path, family)
    return Probe(
        path=name, family=family, sha256=digest, checkpoint=checkpoint, runs_code=runs_code
    )


def _runs_code(path: Path, family: str) -> bool:
    try:
        return bool(read_checkpoint(path, family).code.listed)
    except UnreadableModel:  # checked as if trusted
        return True


def _read_checkpoint(
    given: str, path: Path, families: tuple[str, ...], trust: bool
) -> tuple[str, CheckpointFacts]:
    if problem := checkpoint_problem(path):
        raise InputError.at(given, *problem)
    name = next((name for name in families if networks()[name].read_checkpoint(path)), families[0])
    try:
        looked = read_checkpoint(path, name, trust and holds_objects(name))
    except UnreadableModel as error:
        raise InputError.at(given, error.what, error.hint) from error
    if looked.code.listed:
        hint = code_hint(looked.code, holds_objects(name))
        raise InputError.at(given, describe_code(looked.code), hint)
    found = looked.facts
    if found is not None and found.problem is not None:
        network = f"a network ({found.architecture})" if found.architecture else "a network"
        message = f"is {network} that no step supports: {found.problem[0]}"
        raise InputError.at(given, message, found.problem[1])
    if found is not None:
        return name, found
    message = (
        f"is damaged, or does not contain a whole model of a known family: {', '.join(families)}"
    )
    raise InputError.at(
        given, message, "give the file that the training wrote last, or an ONNX file"
    )
