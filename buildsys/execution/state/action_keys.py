"""Action keys: the digest of everything that decides a step's result, and the part for trainings.

The parts of a key are kept by name, so that a message can name what differs (`reasons`).
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

from buildsys.digest import canonical, digest_bytes, digest_value, flatten
from buildsys.graph import Step

Parts = Mapping[str, object]
"""The parts of an action key by name: JSON values of parameters, digests, versions."""


@dataclass(frozen=True, kw_only=True)
class ActionKey:
    """A step's action key and the parts that it was made from."""

    key: str
    parts: Parts
    inputs: tuple[tuple[str, str], ...]
    """(input name, digest)."""


def make_key(step: Step, digests: list[tuple[str, str]]) -> ActionKey:
    """Return the key of a step with known inputs; `digests`: (input name, digest)."""
    before, after = (
        canonical([step.module, step.code]),
        canonical([step.tool_identity, sorted(digests)]),
    )
    identity = f"{before[:-1]},{step.params},{after[1:]}"  # one list: the parameters are canonical
    return ActionKey(
        key=digest_bytes(identity.encode()), parts=parts_of(step, digests), inputs=tuple(digests)
    )


def parts_of(step: Step, digests: list[tuple[str, str]]) -> Parts:
    """Return the parts of a key by name; of the inputs, those in `digests`."""
    parts = _parameters(step.params) | {f"input.{name}": digest for name, digest in digests}
    return parts | {"code": step.code, "tool": step.tool, "lock": step.tool_identity}


@cache
def _parameters(params: str) -> dict[str, object]:
    return {f"params.{name}": value for name, value in flatten(json.loads(params)).items()}


def slice_digest(step: Step, action_key: ActionKey) -> str:
    """Return the digest that identifies a training's record: of parameters and input contents."""
    return digest_value([step.module, json.loads(step.params), sorted(action_key.inputs)])
