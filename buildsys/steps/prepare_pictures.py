"""Prepare a small set of images of a dataset, for calibration or for comparing conversions."""

from dataclasses import dataclass
from pathlib import Path

from buildsys.spec import Format, Preprocessing, StepSpec
from buildsys.steps.lib.datasets.ultralytics_layout import Split, list_images
from buildsys.steps.lib.runtime.progress import fail, report

STEP = StepSpec(
    tool_env="evaluate",
    consumes=(Format.DATASET,),
    produces=Format.PICTURES,
)
_SHOWN = 20
"""Maximum number of images listed in a message."""


@dataclass(frozen=True, kw_only=True)
class Params:
    """Which images to prepare, and the preprocessing contract."""

    split: Split
    count: int
    seed: int
    preprocessing: Preprocessing


def run(inputs: dict[str, Path], outputs: dict[str, Path], params: Params) -> None:
    """Choose `count` different images by a seeded shuffle of the sorted names, and prepare them."""
    import random

    import numpy as np

    from buildsys.steps.lib.images import decoding, prepared_images

    root = inputs["dataset"]
    found = list_images(root, params.split)
    if params.count > len(found):
        print(
            f"the {params.split.name} split has {len(found)} images, fewer than {params.count}: all are used"
        )
    order = sorted(found)
    random.Random(params.seed).shuffle(order)
    chosen = order[: params.count]
    prepared: list[np.ndarray] = []
    wrong = []
    for image in chosen:
        photo = decoding.read(image)
        if photo.image is None:
            wrong.append(f"{image.relative_to(root)} {photo.problem}")
        else:
            prepared.append(prepared_images.letterbox(photo.image, params.preprocessing)[0])
        short = f"all there are, {params.count} were wanted" if params.count > len(found) else ""
        report(len(prepared) + len(wrong), len(chosen), "images", short)
    if wrong:
        listed = "\n".join(wrong[:_SHOWN])
        more = f"\nand {len(wrong) - _SHOWN} more" if len(wrong) > _SHOWN else ""
        fail(f"{len(wrong)} of {len(chosen)} images of {params.split.name}:\n{listed}{more}")
    names = [str(image.relative_to(root)) for image in chosen]
    prepared_images.save(outputs["pictures"], np.stack(prepared), names)
