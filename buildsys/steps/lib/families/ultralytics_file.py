"""Read the facts of an Ultralytics checkpoint from its pickle's opcodes."""

from pathlib import Path
from typing import Any

from buildsys.spec import CheckpointFacts
from buildsys.steps.lib.families.torch_file import read_operations
from buildsys.steps.lib.families.ultralytics_architectures import OTHER_HEADS, head_problem
from buildsys.steps.lib.families.ultralytics_tasks import HEADS

_TASKS = HEADS | dict.fromkeys(OTHER_HEADS, "detect")


def read_checkpoint(path: Path) -> CheckpointFacts | None:
    """Return the facts in a `.pt`'s pickle, read as a stream of opcodes: nothing in it is executed.
    None if the file is not a PyTorch archive or states no known facts; the step that loads it
    checks again.
    """
    operations = read_operations(path)
    if operations is None:
        return None
    kind = ""
    strings: list[str] = []
    for op, arg in operations:
        if "UNICODE" in op:
            strings.append(str(arg))
        pair = (
            str(arg).split(" ") if op == "GLOBAL" else strings[-2:] if op == "STACK_GLOBAL" else []
        )
        if len(pair) == 2 and pair[0] == "ultralytics.nn.modules.head":
            kind = pair[1] if pair[1] in _TASKS else kind
    if not kind:
        return None
    architecture = _architecture(operations)
    levels, bins = ((_ints_after(operations, key, 1) or [0])[0] for key in ("nl", "reg_max"))
    keypoints, dims = (_ints_after(operations, "kpt_shape", 2) or [0, 0])[:2]
    return CheckpointFacts(
        task=_TASKS[kind],
        names=_names(operations),
        keypoints=keypoints,
        keypoint_dims=dims,
        architecture=architecture,
        size=(_ints_after(operations, "imgsz", 1) or [0])[0],
        problem=head_problem(kind, levels, bins, architecture),
    )


def _architecture(operations: list[tuple[str, Any]]) -> str:
    """Return the text that follows the key `yaml_file`."""
    texts = [str(arg) for op, arg in operations if "UNICODE" in op]
    if "yaml_file" not in texts[:-1]:
        return ""
    name = texts[texts.index("yaml_file") + 1]
    return name.rsplit("/", 1)[-1].removesuffix(".yaml") if name.endswith(".yaml") else ""


def _ints_after(operations: list[tuple[str, Any]], key: str, count: int) -> list[int]:
    """Return the integers that follow a dictionary's key."""
    for index, (_, arg) in enumerate(operations):
        if arg == key:
            near = operations[index + 1 : index + 12]
            values = [int(arg) for op, arg in near if op in ("BININT", "BININT1", "BININT2")]
            if len(values) >= count:
                return values[:count]
    return []


_MOST_NAMES, _MOST_PLACES, _BATCH = 20_000, 100, 1000
"""Maximum number of operations that are searched for names, and of places; pickle writes a
dictionary in batches of 1000.
"""


def _names(operations: list[tuple[str, Any]]) -> tuple[str, ...]:
    """Return the model's `names` dictionary {0: "person", …}: the longest run of number, word."""
    best: tuple[str, ...] = ()
    places = [index for index, (_, arg) in enumerate(operations) if arg == "names"]
    for index in places[:_MOST_PLACES]:
        found: list[str] = []
        number = -1
        for op, value in operations[index + 1 : index + _MOST_NAMES]:
            if op.startswith("BININT") and isinstance(value, int):
                number = value
            elif "UNICODE" in op and number == len(found):
                found.append(str(value))
            elif op in ("SETITEMS", "SETITEM") and (not found or len(found) % _BATCH):
                break
        best = max(best, tuple(found), key=len)
    return best
