"""Checkpoints that a step gets, looked at before its framework loads them.

What `check` said of a file held for that file: here it is asked of the very bytes that the step gets,
whoever made them, a server, a store or an earlier step that may have loaded something hostile.
"""

import os
from pathlib import Path

from buildsys.errors import StepFailed
from buildsys.execution.running.isolation import VARIABLE, Isolation, Mechanism
from buildsys.graph import Step, is_checkpoint
from buildsys.steps.lib.files.foreign import UnreadableModel


def refuse_code(step: Step, inputs: Path, isolated: Isolation) -> None:
    """Raise StepFailed where a checkpoint in the folder `inputs` runs code that is not trusted.

    Where the recipe trusts it, it is trusted in an isolated step: who wants it to have all of the
    machine says that, too. Names that no trust lets it load are refused all the same.
    """
    if step.trusts_code:
        asked = os.environ.get(VARIABLE) == Mechanism.NONE
        if isolated.mechanism == Mechanism.NONE and not asked:
            message = (
                f"{step.stage} ({step.module}) was not started: `trust: code` lets a checkpoint run code"
                f" in an isolated step, but steps cannot be isolated here: {isolated.gap}."
                f" {VARIABLE}=none runs it with all your permissions."
            )
            raise StepFailed(message, refused=True)
    for item in step.inputs:
        if not is_checkpoint(item.name, item):
            continue
        for path in (inputs / item.name, *sorted(inputs.glob(f"{item.name}.*"))):
            if not path.exists():
                continue
            label = item.source.label if item.source is not None else f"the {item.name}"
            problem = _problem(path, step.holds_objects, step.trusts_code)
            if problem:
                message = f"{step.stage} ({step.module}) was not started: {label}: {problem}"
                raise StepFailed(message, refused=True)


def _problem(path: Path, objects: bool, trusted: bool) -> str:
    from buildsys.steps.lib.families.pickled_code import code_hint, describe_code, find_untrusted

    try:
        found = find_untrusted(path, objects=objects, trusted=trusted)
    except UnreadableModel as error:
        return f"{error.what} ({error.hint})" if error.hint else error.what
    return f"it {describe_code(found)} ({code_hint(found, objects)})" if found.listed else ""


def variables(step: Step) -> dict[str, str]:
    """For Ultralytics' own loader: with it, the unpickler itself refuses what is not known, too."""
    return {} if step.trusts_code else {"ULTRALYTICS_SAFE_LOAD": "true"}
