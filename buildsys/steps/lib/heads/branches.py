"""Which branch of a network a head is of, and which layout its outputs have, by the head's name.

YOLOv10 and YOLO26 have two branches. One-to-many answers an object in several cells, and suppression
leaves the best; one-to-one answers it in one cell, and nothing has to be suppressed. Both give the same
layouts. Standard library alone.
"""

ONE_TO_MANY, ONE_TO_ONE = "one-to-many", "one-to-one"
BRANCHES = (ONE_TO_MANY, ONE_TO_ONE)
_ENDING = f"-{ONE_TO_ONE}"
_RAW = ("raw", "yolo26-raw")


def layout(head: str) -> str:
    """The head without its branch: decoded-one-to-one -> decoded."""
    return head.removesuffix(_ENDING)


def is_one_to_one(head: str) -> bool:
    """Whether an object is in one cell alone, so that nothing is suppressed."""
    return head.endswith(_ENDING)


def branch_of(head: str) -> str:
    """One of BRANCHES."""
    return ONE_TO_ONE if is_one_to_one(head) else ONE_TO_MANY


def of_branch(head: str, branch: str) -> str:
    """The head of the same layout and another branch."""
    return f"{layout(head)}{_ENDING}" if branch == ONE_TO_ONE else layout(head)


def usual(head: str) -> str:
    """YOLOv8's head of the same kinds of outputs: yolo26-raw-one-to-one -> raw."""
    return "raw" if is_raw(head) else layout(head)


def is_raw(head: str) -> bool:
    """Whether outputs are as the network computes them, before any sigmoid."""
    return layout(head) in _RAW
