"""Report whether accuracy was measured on images that were also used for calibration.

It is a step of its own, so that neither the measurement nor the quantization runs again when the
other's images change.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from buildsys.spec import Format, StepSpec
from buildsys.steps.lib.datasets.ultralytics_layout import Split, list_images
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
    """Compare the digests. `inputs`: calibration, the prepared images; pictures, the images that
    they were chosen from; dataset, the measured data (if both are the same tree, `pictures` may be
    absent).
    """
    drawn_from = inputs.get("pictures", inputs["dataset"])
    names = json.loads((inputs["calibration"] / "sources.json").read_text(encoding="utf-8"))
    missing = [name for name in names if not (drawn_from / name).is_file()]
    if missing:
        fail(f"the calibration image {missing[0]} is not where it was drawn from.")
    calibration = {name: _digest(drawn_from / name) for name in names}
    root = inputs["dataset"]
    measured = {str(p.relative_to(root)): _digest(p) for p in list_images(root, params.split)}
    found = find_overlap(calibration, measured)
    evidence = {
        "calibration_overlap": len(found),
        "calibration_pictures": len(calibration),
        "measured_pictures": len(measured),
        "measured_split": params.split.name,
        "overlapping": list(found[:_SHOWN]),
    }
    outputs["evidence"].write_text(json.dumps(evidence, indent=1) + "\n", encoding="utf-8")


def find_overlap(calibration: Mapping[str, str], measured: Mapping[str, str]) -> tuple[str, ...]:
    """Return the sorted names of calibration images whose bytes are also in the measured split,
    under any name.

    Both arguments map an image's name to the digest of its bytes.
    """
    seen = set(measured.values())
    return tuple(sorted(name for name, digest in calibration.items() if digest in seen))


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
