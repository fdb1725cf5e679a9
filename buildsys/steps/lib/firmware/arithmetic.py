"""Compute boxes and keypoints from integers with the float32 arithmetic of firmware decoders; see
`emulated_decoders`.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from buildsys.spec import REG_MAX, STRIDES
from buildsys.steps.lib.firmware.output_layout import Network, Roles

if TYPE_CHECKING:
    import numpy as np


@dataclass(frozen=True, kw_only=True)
class Tensor:
    """An output for one image: int8 values with the batch axis; real value = (q - zero_point) *
    scale.
    """

    values: "np.ndarray"
    scale: float
    zero_point: int

    def real(self) -> "np.ndarray":
        """Return the real values in float32, as firmware computes them."""
        import numpy as np

        return (self.values.astype(np.float32) - np.float32(self.zero_point)) * np.float32(
            self.scale
        )


def raw_boxes(
    tensors: tuple[Tensor, ...], roles: Roles, network: Network, stable: bool
) -> "tuple[np.ndarray, np.ndarray]":
    """Return centres and sizes [N, 2] in pixels, float32; `stable`: whether the softmax subtracts
    the maximum.
    """
    import numpy as np

    bins = over_strides(tensors, roles.boxes).reshape(-1, 4, REG_MAX)
    if stable:
        bins = bins - bins.max(-1, keepdims=True)
    with np.errstate(over="ignore", invalid="ignore"):
        bins = np.exp(bins)
        bins = bins / bins.sum(-1, keepdims=True)
    sides = bins @ np.arange(REG_MAX, dtype=np.float32)
    anchors, strides = anchors_and_strides(network)
    centres = (anchors + (sides[:, 2:] - sides[:, :2]) / 2) * strides
    return centres, (sides[:, :2] + sides[:, 2:]) * strides


def raw_keypoints(tensors: tuple[Tensor, ...], roles: Roles, network: Network) -> "np.ndarray":
    """Return keypoints [N, k, 2] in pixels, float32."""
    import numpy as np

    assert roles.keypoints is not None
    values = tensors[roles.keypoints].real()[0]
    anchors, strides = anchors_and_strides(network)
    points = values.reshape(len(values), -1, 3)[..., :2]
    places = (points * 2 + (anchors - np.float32(0.5))[:, None]) * strides[:, None]
    return np.asarray(places)


def over_strides(tensors: tuple[Tensor, ...], places: tuple[int, ...]) -> "np.ndarray":
    import numpy as np

    return np.concatenate([tensors[place].real()[0] for place in places])


def anchors_and_strides(network: Network) -> "tuple[np.ndarray, np.ndarray]":
    """Return cell centres [N, 2] in strides, and strides [N, 1], float32."""
    import numpy as np

    anchors, strides = [], []
    for stride in STRIDES:
        side = network.width // stride
        y, x = np.divmod(np.arange(side * side), side)
        anchors.append(np.stack([x, y], 1) + 0.5)
        strides.append(np.full((side * side, 1), stride))
    return np.concatenate(anchors).astype(np.float32), np.concatenate(strides).astype(np.float32)


def unsigned(values: "np.ndarray") -> "np.ndarray":
    """Truncate to integers, at least 0; NaN becomes 0."""
    import numpy as np

    return np.floor(np.clip(np.nan_to_num(values), 0, 65535))


def sigmoid(x: "np.ndarray") -> "np.ndarray":
    import numpy as np

    return np.float32(1) / (np.float32(1) + np.exp(-x))


def fast_exp(x: "np.ndarray") -> "np.ndarray":
    """Return Schraudolph's exponential in float32: the scaled and shifted argument, interpreted as
    the bits of a float. The scale is 2**23 / ln 2; the shift is 127 * 2**23 minus the correction
    that SSCMA chose.
    """
    import numpy as np

    bits = np.float32(12102203.16) * np.asarray(x, np.float32) + np.float32(1064986823.01)
    bits = np.where(bits < np.float32(8388608), np.float32(0), bits)
    bits = np.minimum(bits, np.float32(2139095040))
    return bits.astype(np.uint32).view(np.float32)


def fast_log(x: float) -> float:
    """Return SSCMA's polynomial logarithm: exponent times ln 2 plus a cubic of the mantissa in
    1..2.
    """
    import math

    mantissa, exponent = math.frexp(x)
    mantissa, exponent = mantissa * 2, exponent - 1
    cubic = -1.49278 + (2.11263 + (-0.729104 + 0.10969 * mantissa) * mantissa) * mantissa
    return cubic + 0.6931471806 * exponent
