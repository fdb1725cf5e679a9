"""Writes text as a YAML scalar, for recipes."""

import json
import re

_PLAIN = re.compile(r"[A-Za-z][A-Za-z0-9._/-]*")
_BOOLEANS = ("true", "false", "null", "yes", "no", "on", "off")


def scalar(text: str) -> str:
    """Return a YAML scalar that means `text`."""
    if _PLAIN.fullmatch(text) and text.lower() not in _BOOLEANS:
        return text
    return json.dumps(text, ensure_ascii=not text.isprintable())
