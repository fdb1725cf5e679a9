"""Explains why a step has to run: which parts of two action keys differ, in words."""

from collections.abc import Mapping

from buildsys.errors import shorten
from buildsys.execution.state.action_keys import Parts
from buildsys.execution.state.inputs import describe_changes
from buildsys.execution.store.store import Store
from buildsys.graph import Reason, Step


def compare(
    step: Step, old: Parts, new: Parts, steps: Mapping[str, Step], store: Store
) -> tuple[Reason, ...]:
    """Return the differences between the parts of two action keys of a step.

    `steps`: by id, those that its inputs come from; `store`: has the old and new index of a
    dataset.
    """
    names = sorted(old.keys() | new.keys())
    reasons: list[Reason] = []
    tools = [str(parts.get("tool", "")) for parts in (old, new)]
    if all(tools) and _title(tools[0]) != _title(tools[1]):  # another module, with other inputs
        reasons.append(Reason(subject="tool", old=tools[0], new=tools[1]))
        names = [name for name in names if name.startswith("params.")]
    for name in names:
        if old.get(name) != new.get(name):
            reasons += _reasons(step, name, old, new, steps, store)
    return tuple(dict.fromkeys(reasons))


def _reasons(
    step: Step,
    name: str,
    old: Parts,
    new: Parts,
    steps: Mapping[str, Step],
    store: Store,
) -> list[Reason]:
    kind, _, rest = name.partition(".")
    before, after = old.get(name), new.get(name)
    if kind == "params":
        origin = next((o for o in step.origins if o.parameter == rest), None)
        label = origin.label if origin else rest
        place = f"{origin.path}:{origin.line}" if origin and origin.path else ""
        return [Reason(subject=label, old=_show(before), new=_show(after), place=place)]
    if kind == "input":
        return _input_reasons(step, rest, str(before), str(after), steps, store)
    if kind == "code":
        return [Reason(subject=f"the code of {step.module} changed")]
    if kind == "lock" and old.get("tool") == new.get("tool"):
        return [Reason(subject=f"the lock of {step.tool_env or 'the core'} changed")]
    if kind == "tool":
        versions = [str(tool).rsplit(" ", 1)[-1] for tool in (before, after)]
        return [Reason(subject=_title(str(after)), old=versions[0], new=versions[1])]
    return []


def _title(tool: str) -> str:
    """Return the name in "name version"."""
    return tool.rsplit(" ", 1)[0]


def _input_reasons(
    step: Step, name: str, old: str, new: str, steps: Mapping[str, Step], store: Store
) -> list[Reason]:
    item = next((item for item in step.inputs if item.name == name), None)
    if item is None or old == "None":
        return [Reason(subject=f"input {name} {'is gone' if item is None else 'is new'}")]
    if item.source is None:
        return [Reason(subject=f"the output of {steps[item.step].stage} changed")]
    if not item.source.parts:
        return [Reason(subject=f"{item.source.name} changed")]
    label = item.source.name
    changes = describe_changes(store, old, new, label) or [f"files of {label} changed"]
    return [Reason(subject=change) for change in changes]


def _show(value: object) -> str:
    return "nothing" if value is None else shorten(str(value))
