"""Inspects the checkpoints that a step gets, before its framework loads them.

`buildsys check` inspects the file that it finds. Here the very bytes that the step gets are
inspected, whatever their origin: a server, a store, or an earlier step that may have loaded hostile
code.
"""

import os
from pathlib import Path

from buildsys.errors import StepFailed
from buildsys.execution.running.isolation import VARIABLE, Isolation, Mechanism
from buildsys.graph import Step, is_checkpoint
from buildsys.steps.lib.files.foreign import UnreadableModel


def refuse_code(step: Step, inputs: Path, isolated: Isolation) -> None:
    """Raise StepFailed where a checkpoint in the folder `inputs` would run code that is not
    trusted.

    Trusted code runs only in an isolated step, unless the user has also disabled isolation. Some
    names are refused even with trust.
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
            label = item.source.name if item.source is not None else f"the {item.name}"
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
    """Return variables with which Ultralytics' loader also refuses unknown names in a
    checkpoint.
    """
    return {} if step.trusts_code else {"ULTRALYTICS_SAFE_LOAD": "true"}
