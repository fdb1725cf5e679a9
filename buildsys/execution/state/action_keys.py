"""Action keys: the digest of everything that decides a step's result, and the training's slice of
it.

The parts of a key are kept by name, so that two keys can be compared in words (`reasons`).
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

from buildsys.digest import canonical, digest_bytes, digest_value, flatten
from buildsys.graph import Step

Parts = Mapping[str, object]
"""What an action key is made from, by name: JSON values of parameters, digests, versions."""


@dataclass(frozen=True, kw_only=True)
class ActionKey:
    """A step's action key with the parts that it was made from."""

    key: str
    parts: Parts
    inputs: tuple[tuple[str, str], ...]
    """(input name, digest)."""


def make_key(step: Step, digests: list[tuple[str, str]]) -> ActionKey:
    """The key of a step whose inputs are all known; `digests`: (input name, digest)."""
    before, after = (
        canonical([step.module, step.code]),
        canonical([step.tool_identity, sorted(digests)]),
    )
    identity = f"{before[:-1]},{step.params},{after[1:]}"  # one list: the parameters are canonical
    return ActionKey(
        key=digest_bytes(identity.encode()), parts=parts_of(step, digests), inputs=tuple(digests)
    )


def parts_of(step: Step, digests: list[tuple[str, str]]) -> Parts:
    """What a key is made from, by name; of the inputs, those that are given."""
    parts = _parameters(step.params) | {f"input.{name}": digest for name, digest in digests}
    return parts | {"code": step.code, "tool": step.tool, "lock": step.tool_identity}


@cache
def _parameters(params: str) -> dict[str, object]:
    return {f"params.{name}": value for name, value in flatten(json.loads(params)).items()}


def slice_digest(step: Step, action_key: ActionKey) -> str:
    """What a training's record goes by: parameters and the content of its inputs."""
    return digest_value([step.module, json.loads(step.params), sorted(action_key.inputs)])
