"""How a drafted recipe writes things down: lines with comments, scalars, a checkpoint in words."""

import json
import re

from buildsys.steps.lib.families.family import CheckpointFacts

_COMMENT_COLUMN = 36
_PLAIN = re.compile(r"[A-Za-z][A-Za-z0-9._/-]*")
_ARCHITECTURE = re.compile(r"[a-z0-9][a-z0-9.-]*")


def describe(found: CheckpointFacts) -> str:
    """ "a pose network (yolov8n-pose), 1 class: tag; 4 keypoints; trained at 192 px"."""
    names = ": " + ", ".join(printable(name) for name in found.names[:5])
    more = ", …" if len(found.names) > 5 else ""
    what = f" ({architecture(found)})" if architecture(found) else ""
    points = f"; {found.keypoints} keypoints" if found.task == "pose" else ""
    size = f"; trained at {found.size} px" if found.size else ""
    classes = f"{len(found.names)} class{'es' if len(found.names) != 1 else ''}"
    if not found.names:
        classes, names = "its classes not named in the file", ""
    return f"a {found.task} network{what}, {classes}{names}{more}{points}{size}"


def architecture(found: CheckpointFacts) -> str:
    """A checkpoint is anybody's text: only what looks like a name gets into a recipe."""
    return found.architecture if _ARCHITECTURE.fullmatch(found.architecture) else ""


def noted(text: str, comment: str = "") -> str:
    """A line with its comment in the column of all comments."""
    return f"{text:<{_COMMENT_COLUMN - 2}}  # {comment}" if comment else text


def printable(text: str) -> str:
    """For comments, which end with the line."""
    return "".join(letter if letter.isprintable() else "?" for letter in text)[:60]


def scalar(text: str) -> str:
    """A YAML scalar that means `text`."""
    if _PLAIN.fullmatch(text) and text.lower() not in (
        "true",
        "false",
        "null",
        "yes",
        "no",
        "on",
        "off",
    ):
        return text
    return json.dumps(text, ensure_ascii=not text.isprintable())
