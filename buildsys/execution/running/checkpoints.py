"""Checkpoints that a step gets, looked at before its framework loads them.

What `check` said of a file held for that file: here it is asked of the very bytes that the step gets,
whoever made them, a server, a store or an earlier step that may have loaded something hostile.
"""

from pathlib import Path

from buildsys.errors import StepFailed
from buildsys.graph import Step, is_checkpoint
from buildsys.steps.lib.families.pickled_code import find_code
from buildsys.steps.lib.files.foreign import UnreadableModel

_SHOWN = 6


def refuse_code(step: Step, inputs: Path) -> None:
    """Raise StepFailed where a checkpoint in the folder `inputs` runs code that nobody trusts."""
    if step.trusts_code:
        return
    for item in step.inputs:
        if not is_checkpoint(item.name, item):
            continue
        for path in sorted(inputs.glob(f"{item.name}.*")):
            label = item.source.label if item.source is not None else f"the {item.name}"
            problem = _problem(path)
            if problem:
                message = f"{step.stage} ({step.module}) was not started: {label}: {problem}"
                raise StepFailed(message, refused=True)


def _problem(path: Path) -> str:
    try:
        found = find_code(path, objects=True)
    except UnreadableModel as error:
        return f"{error.what} ({error.hint})" if error.hint else error.what
    if not found:
        return ""
    more = f", … ({len(found)} in all)" if len(found) > _SHOWN else ""
    return (
        f"it runs code when it is loaded, beyond what checkpoints hold: {', '.join(found[:_SHOWN])}"
        f"{more}. `trust: code` in the recipe's `source` allows it."
    )


def variables(step: Step) -> dict[str, str]:
    """For Ultralytics' own loader: with it, the unpickler itself refuses what is not known, too."""
    return {} if step.trusts_code else {"ULTRALYTICS_SAFE_LOAD": "true"}
