"""Decide whether a change of a metric exceeds its limit."""

_DIGITS = 6
"""Decimals of a metric: a subtraction makes more, such as 0.010000000000000009 of 0.85 - 0.84."""
_DIGITS_OF_LIMIT = 9
"""Decimals of a limit, which may be the product of a share and a size in bytes."""


def exceeds(change: float, limit: float) -> bool:
    """Return whether a change is larger than its limit; a change equal to it is not."""
    return round(change, _DIGITS) > round(limit, _DIGITS_OF_LIMIT)
