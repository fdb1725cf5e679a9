"""Find a head's branch and output layout by its name.

YOLOv10 and YOLO26 have two branches. One-to-many reports an object in several cells, and
suppression keeps the best; one-to-one reports it in one cell, without suppression. Both have the
same layouts. Only the standard library is used.
"""

ONE_TO_MANY, ONE_TO_ONE = "one-to-many", "one-to-one"
BRANCHES = (ONE_TO_MANY, ONE_TO_ONE)
_ENDING = f"-{ONE_TO_ONE}"
_RAW = ("raw", "yolo26-raw")


def layout(head: str) -> str:
    """Return the head without its branch: decoded-one-to-one -> decoded."""
    return head.removesuffix(_ENDING)


def is_one_to_one(head: str) -> bool:
    """Return whether an object is in one cell only, so that no suppression is needed."""
    return head.endswith(_ENDING)


def branch_of(head: str) -> str:
    """Return the head's branch, one of BRANCHES."""
    return ONE_TO_ONE if is_one_to_one(head) else ONE_TO_MANY


def of_branch(head: str, branch: str) -> str:
    """Return the head of the same layout for another branch."""
    return f"{layout(head)}{_ENDING}" if branch == ONE_TO_ONE else layout(head)


def usual(head: str) -> str:
    """Return YOLOv8's head with the same kinds of outputs: yolo26-raw-one-to-one -> raw."""
    return "raw" if is_raw(head) else layout(head)


def is_raw(head: str) -> bool:
    """Return whether outputs are the network's raw values, before any sigmoid."""
    return layout(head) in _RAW
