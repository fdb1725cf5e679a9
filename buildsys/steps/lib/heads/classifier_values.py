"""Judge whether the values of a given classifier are probabilities."""

from collections.abc import Sequence

_LOGITS_CURE = (
    "write `decoder: yolov8-raw` if the values are logits, or give a file that ends in Softmax"
)
_SUM_CURE = (
    "write `decoder: none` if each class has a probability of its own (Sigmoid), or give a file that"
    " ends in Softmax"
)
_OFF = 0.02
"""How far a sum of probabilities may be from 1; each that is rounded adds half a step."""


def explain_logits(rows: Sequence[Sequence[float]], step: float) -> str:
    """Return why rows of one value per class are not probabilities, and what to do; "" if they are.

    `step`: to whose multiples the values are rounded; 0 if they are not.
    """
    off = _OFF + len(rows[0]) * step / 2
    low, high = min(map(min, rows)), max(map(max, rows))
    worst = max(map(sum, rows), key=lambda total: abs(total - 1))
    if low < -_OFF:
        found, side = low, "below 0"
    elif high > 1 + _OFF:
        found, side = high, "above 1"
    elif abs(worst - 1) > off:
        return f"gives probabilities with the sum {worst:.3g}, not 1: {_SUM_CURE}"
    else:
        return ""
    return f"gives {found:.3g} as the probability of a class, which is {side}: {_LOGITS_CURE}"
