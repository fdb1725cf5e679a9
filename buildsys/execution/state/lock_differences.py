"""Finds lines that buildsys.lock lacks for some builds, and lines that differ from the
workspace.
"""

import contextlib
import dataclasses
from collections.abc import Iterable, Iterator

from buildsys.errors import BuildsysError
from buildsys.execution.state.action_keys import slice_digest
from buildsys.execution.state.decide import State
from buildsys.graph import BuildPlan, Source, Step
from buildsys.lockfile import Content, Training, is_training, recipe_of, training_key
from buildsys.recorded_facts import Facts, RecordedDataset
from buildsys.spec import Format

_OF_THE_RECIPE = ("names", "keypoints", "keypoint_dims", "sigmas", "flip", "crowds")
"""Facts of data in a format without classes: task and recipe define them, so two recipes can
disagree about one line.
"""
SHOWN = 12
"""Digits of a digest in a message."""


def differences(state: State, plans: Iterable[BuildPlan]) -> tuple[str, ...]:
    """Return, as sentences without repetition, which lines differ from what these builds were made
    from.

    Data that is not here, and trainings that were not made here, are not compared.
    """
    found: list[str] = []
    for plan in plans:
        for key, digest, facts in found_sources(state, plan):
            recorded = state.lock.content(key)
            if recorded is not None:
                found.append(compare_source(key, recorded, digest, facts))
        for step, slice_ in found_trainings(state, plan):
            recorded_training = state.trainings.get(slice_)
            if recorded_training is not None:
                found.append(compare_training(state, step, plan.recipe, recorded_training))
    return tuple(dict.fromkeys(filter(None, found)))


def missing_lines(state: State, plans: Iterable[BuildPlan]) -> tuple[str, ...]:
    """Return the keys of missing lines, once each, including trainings that have not run yet."""
    found: list[str] = []
    for plan in plans:
        found += [key for key, _, _ in found_sources(state, plan)]
        found += [training_key(plan.recipe, slice_) for _, slice_ in found_trainings(state, plan)]
    return tuple(key for key in dict.fromkeys(found) if key not in state.lock.by_key)


def no_line(key: str) -> str:
    """Return the sentence about a line that a locked run would have to add."""
    return f"buildsys.lock has no line `{key}`"


def never_trained(state: State, plans: Iterable[BuildPlan]) -> tuple[str, ...]:
    """Return recipes without a recorded training whose trainings' inputs are not made yet."""
    asked = {
        plan.recipe
        for plan in plans
        for step in plan.steps
        if step.trains and state.known_key(step) is None
    }
    return tuple(sorted(asked - {recipe_of(key) for key in state.lock.by_key if is_training(key)}))


def found_sources(state: State, plan: BuildPlan) -> Iterator[tuple[str, str, Facts | None]]:
    """Yield (key of its line, digest, facts) of each source that is here."""
    facts = {fact.key: fact.facts for fact in plan.facts}
    for source in _sources(plan):
        key = f"{source.kind} {source.label}"
        with contextlib.suppress(BuildsysError):  # unreadable: its step reports it
            if not state.sources.is_missing(source):
                yield key, state.sources.digest(source), facts.get(key)


def absent_sources(state: State, plan: BuildPlan) -> tuple[str, ...]:
    """Return the keys of sources that are not here; they are not compared."""
    return tuple(f"{s.kind} {s.label}" for s in _sources(plan) if state.sources.is_missing(s))


def found_trainings(state: State, plan: BuildPlan) -> Iterator[tuple[Step, str]]:
    """Yield a plan's trainings with known inputs, each with the digest that identifies its line."""
    for step in plan.steps:
        action_key = state.known_key(step) if step.trains else None
        if action_key is not None:
            yield step, slice_digest(step, action_key)


def _sources(plan: BuildPlan) -> list[Source]:
    found = [item.source for step in plan.steps for item in step.inputs if item.source is not None]
    return [source for source in dict.fromkeys(found) if source.kind]


def compare_source(key: str, recorded: Content, digest: str, facts: Facts | None) -> str:
    """Return how a source differs from its line; empty if it does not."""
    if _are_two_parts(recorded.facts, facts):
        return ""
    if recorded.digest != digest:
        old, new = recorded.digest[:SHOWN], digest[:SHOWN]
        return f"{key}: buildsys.lock records {old}, but this workspace has {new}"
    others = other_facts(recorded.facts, facts)
    if not others:
        return ""
    return f"{key}: buildsys.lock differs in {others} from this workspace"


def _are_two_parts(recorded: Facts | None, found: Facts | None) -> bool:
    """Return whether the facts describe two different parts of one archive.

    The recipes pin the archive, and share its line. Facts about the same part are compared in full.
    """
    return (
        isinstance(recorded, RecordedDataset)
        and isinstance(found, RecordedDataset)
        and bool(found.archive)
        and recorded.archive == found.archive
        and (recorded.root, recorded.file, recorded.parts) != (found.root, found.file, found.parts)
    )


def other_facts(recorded: Facts | None, found: Facts | None) -> str:
    """Return the names of the facts that differ between two records of one source.

    Returns an empty text if none.
    """
    if found is None or recorded == found:
        return ""
    if recorded is None or type(recorded) is not type(found):
        return "what planning needs"
    names = [field.name for field in dataclasses.fields(found)]
    if isinstance(found, RecordedDataset) and (found.coco or found.format):
        names = [name for name in names if name not in _OF_THE_RECIPE]
    others = [name for name in names if getattr(recorded, name) != getattr(found, name)]
    return ", ".join(f"`{name}`" for name in others)


def compare_training(state: State, step: Step, recipe: str, recorded: Training) -> str:
    """Return how the network that a step made differs from the recorded one.

    Returns an empty text if it does not.
    """
    made = made_checkpoint(state, step)
    if made in ("", recorded.checkpoint):
        return ""
    changes = changes_since(step, recorded)
    return (
        f"training of {recipe}: buildsys.lock records the network {recorded.checkpoint[:SHOWN]}"
        f" ({describe_training(recorded)}), but {made[:SHOWN]} was trained here"
        + (f"; since then {changes}" if changes else "")
    )


def made_checkpoint(state: State, step: Step) -> str:
    """Return the digest of the network that a step made or that is used as its result; else
    empty.
    """
    with contextlib.suppress(BuildsysError):
        result = state.result(step.id)
        if result is not None:
            return dict(result.outputs).get(Format.CHECKPOINT, "")
    return ""


def describe_training(recorded: Training) -> str:
    """Return where the network was trained."""
    torch = f"torch {recorded.torch}" if recorded.torch else "an unknown torch"
    return f"on {recorded.device or 'an unknown device'}, {torch}"


def changes_since(step: Step, recorded: Training) -> str:
    """Return which tools and code have changed since the training was recorded."""
    changes = []
    if recorded.tool != step.tool:
        changes.append(f"{recorded.tool} became {step.tool}")
    elif recorded.lock != step.tool_identity:
        changes.append(f"the lock of {step.tool_env} changed")
    if recorded.code != step.code:
        changes.append(f"the code of {step.module} changed")
    return " and ".join(changes)
