"""Split an output into parts by what the network's task puts behind the scores.

`output_figures.split` takes the rows behind the scores of a joint output for keypoints, which they
are in a pose network only.
"""

import dataclasses
from typing import TYPE_CHECKING

from buildsys.spec import MASK_CHANNELS
from buildsys.steps.lib.parity import output_figures
from buildsys.steps.lib.parity.output_figures import Part

if TYPE_CHECKING:
    import numpy as np

_ROWS = {MASK_CHANNELS: "mask coefficients", 1: "angles"}
"""What the rows behind the scores are in a network without keypoints, by their number."""


def split(name: str, values: "np.ndarray", classes: int, keypoints: int) -> tuple[Part, ...]:
    """Split an output, by its canonical name, into parts of one kind; see `output_figures.split`.
    `keypoints`: the number for an object; 0 for other tasks than pose.
    """
    parts = output_figures.split(name, values, classes)
    return parts if keypoints else tuple(_without_keypoints(name, part) for part in parts)


def _without_keypoints(name: str, part: Part) -> Part:
    if part.kind != "keypoint":
        return part
    what = _ROWS.get(part.values.shape[1], "further values")
    return dataclasses.replace(part, name=f"{name} ({what})", kind="other")
