"""Choose the sigmas of object keypoint similarity, which say how far off a keypoint may be.

Without a dataset's own sigmas they are Ultralytics' (`models/yolo/pose/val.py`, 8.4): COCO's for 17
keypoints (https://cocodataset.org/#keypoints-eval), for any other number K each is 1/K.
"""

from dataclasses import dataclass

_COCO = (
    *(0.026, 0.025, 0.025, 0.035, 0.035, 0.079, 0.079, 0.072, 0.072),
    *(0.062, 0.062, 0.107, 0.107, 0.087, 0.087, 0.089, 0.089),
)


@dataclass(frozen=True, kw_only=True)
class Sigmas:
    """One value per keypoint, as a share of the square root of the object's area; `source`: their
    origin as text.
    """

    values: tuple[float, ...]
    source: str


def choose(given: tuple[float, ...], keypoints: int) -> Sigmas:
    """Return the dataset's sigmas (`kpt_oks_sigmas`), otherwise Ultralytics' defaults."""
    if given:
        return Sigmas(values=given, source="the dataset's kpt_oks_sigmas")
    if keypoints == len(_COCO):
        return Sigmas(values=_COCO, source="COCO's, for 17 keypoints")
    return Sigmas(
        values=(1 / keypoints,) * keypoints, source=f"Ultralytics' default, 1/{keypoints}"
    )
