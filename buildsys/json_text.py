"""JSON for readers of every language."""

import json
import math
from typing import Any


def json_text(value: object, **options: Any) -> str:
    """Return `json.dumps` of a value, with null for NaN and Infinity, which JSON does not have."""
    return json.dumps(_finite(value), allow_nan=False, **options)


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    return [_finite(item) for item in value] if isinstance(value, list | tuple) else value
