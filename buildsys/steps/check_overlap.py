"""Report whether accuracy was measured on images that were also used for calibration.

It is a step of its own, so that neither the measurement nor the quantization runs again when the
other's images change. Files are compared by their bytes, of a JPEG without data behind it. Images
that `prepare_dataset` writes as PNG, such as those that EXIF data rotate, are compared by their
pixels: only they, and measured PNGs of their size, are decoded.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from buildsys.spec import Format, StepSpec
from buildsys.steps.lib.datasets.ultralytics_layout import Split, list_images
from buildsys.steps.lib.images import image_headers, jpeg_file
from buildsys.steps.lib.runtime.progress import fail

STEP = StepSpec(
    tool_env="evaluate",
    consumes=(Format.PICTURES,),
    produces=Format.EVIDENCE,
)
_SHOWN = 20


@dataclass(frozen=True, kw_only=True)
class Params:
    """The split on which accuracy is measured."""

    split: Split


def run(inputs: dict[str, Path], outputs: dict[str, Path], params: Params) -> None:
    """Compare the images. `inputs`: calibration, the prepared images; pictures, the images that
    they were chosen from; dataset, the measured data (if both are the same tree, `pictures` may be
    absent).
    """
    drawn_from = inputs.get("pictures", inputs["dataset"])
    names = json.loads((inputs["calibration"] / "sources.json").read_text(encoding="utf-8"))
    missing = [name for name in names if not (drawn_from / name).is_file()]
    if missing:
        fail(f"the calibration image {missing[0]} is not where it was drawn from.")
    calibration = {name: _read(drawn_from / name) for name in names}
    root = inputs["dataset"]
    measured = {str(p.relative_to(root)): _read(p) for p in list_images(root, params.split)}
    found = find_overlap(calibration, measured)
    evidence = {
        "calibration_overlap": len(found),
        "calibration_pictures": len(calibration),
        "measured_pictures": len(measured),
        "measured_split": params.split.name,
        "overlapping": list(found[:_SHOWN]),
    }
    outputs["evidence"].write_text(json.dumps(evidence, indent=1) + "\n", encoding="utf-8")


@dataclass(frozen=True, kw_only=True)
class Image:
    """An image file. `digest`: of the bytes that `prepare_dataset` keeps; `rewritten`: it writes the
    file as PNG; `size`: width and height of a PNG in its header's form, otherwise empty.
    """

    path: Path
    digest: str
    rewritten: bool = False
    size: bytes = b""


def find_overlap(
    calibration: Mapping[str, Image], measured: Mapping[str, Image]
) -> tuple[str, ...]:
    """Return the sorted names of calibration images that are also in the measured split, under any
    name. Both arguments map an image's name to its file.
    """
    digests = {image.digest for image in measured.values()}
    found = {name for name, image in calibration.items() if image.digest in digests}
    rest = {
        name: image.path
        for name, image in calibration.items()
        if image.rewritten and name not in found
    }
    return tuple(sorted(found | _find_pixels(rest, [i for i in measured.values() if i.size])))


def _find_pixels(files: Mapping[str, Path], pngs: Sequence[Image]) -> set[str]:
    """Return the names of the files whose pixels are those of a PNG."""
    if not files or not pngs:
        return set()
    pixels = {name: _pixels(path) for name, path in files.items()}
    sizes = {size for size, _ in pixels.values()}
    seen = {_pixels(png.path) for png in pngs if png.size in sizes}
    return {name for name, found in pixels.items() if found in seen}


def _pixels(path: Path) -> tuple[bytes, str]:
    """Return an image's size in the form of a PNG's header, and the digest of its pixels."""
    from buildsys.steps.lib.images import decoding

    image = decoding.read_image(path)
    height, width = image.shape[:2]
    size = width.to_bytes(4, "big") + height.to_bytes(4, "big")
    return size, hashlib.sha256(image.tobytes()).hexdigest()


def _read(path: Path) -> Image:
    data = path.read_bytes()
    jpeg = jpeg_file.keep_image(data)
    return Image(
        path=path,
        digest=hashlib.sha256(jpeg or data).hexdigest(),
        rewritten=not jpeg and not image_headers.is_plain(data, path.suffix, jpeg),
        size=data[16:24] if data.startswith(image_headers.PNG) else b"",
    )
