"""Decide whether a change of a metric exceeds its limit, and how many digits show that."""

_DIGITS = 6
"""Decimals of a metric: a subtraction makes more, such as 0.010000000000000009 of 0.85 - 0.84."""
_SHOWN = 4
"""Decimals that a metric is shown with where they suffice."""
_DIGITS_OF_LIMIT = 9
"""Decimals of a limit, which may be the product of a share and a size in bytes."""


def exceeds(change: float, limit: float) -> bool:
    """Return whether a change is larger than its limit; a change equal to it is not."""
    return round(change, _DIGITS) > round(limit, _DIGITS_OF_LIMIT)


def decimals(figure: float, limit: float) -> int:
    """Return the number of decimals that show on which side of its limit a judged figure is."""
    shown = round(figure, _SHOWN)
    return _SHOWN if (shown - limit) * (figure - limit) > 0 else _DIGITS
