"""Write the files of every package besides the model: labels and measured figures."""

import json
from pathlib import Path
from typing import Any

from buildsys.json_text import json_text
from buildsys.spec import PAD_GREY, Preprocessing


def write_companions(folder: Path, classes: tuple[str, ...], inputs: dict[str, Path]) -> None:
    """Write labels.txt, and metrics.json with one entry per measured file (`metrics-*` of the
    inputs).
    """
    folder.mkdir(parents=True, exist_ok=True)
    if classes:
        (folder / "labels.txt").write_text("\n".join(classes) + "\n", encoding="utf-8")
    metrics = {
        name.removeprefix("metrics-"): json.loads(path.read_text(encoding="utf-8"))
        for name, path in sorted(inputs.items())
        if name.startswith("metrics-")
    }
    if metrics:
        write_json(folder / "metrics.json", metrics)


def describe_preprocessing(contract: Preprocessing | None) -> dict[str, Any] | None:
    """Return how an image becomes the input, for the firmware's author; None: unknown."""
    if contract is None:
        return None
    padded = contract.resize == "letterbox"
    return {
        "height": contract.height,
        "width": contract.width,
        "color": contract.color,
        "resize": contract.resize,
        "interpolation": "bilinear" if padded else "bilinear, antialiased (as Pillow's)",
        **({"padding": [PAD_GREY] * 3, "padding_placement": "centred"} if padded else {}),
        "values": "0..255 divided by 255; an integer input is that divided by its scale, plus its zero"
        " point: u8 - 128 for int8 with 1/255 and -128, u8 for uint8 with 1/255 and 0",
        "layout": "NHWC",
    }


def write_json(path: Path, value: Any) -> None:
    """Write JSON sorted, with one value per line, so that files can be compared."""
    path.write_text(json_text(value, indent=1, sort_keys=True) + "\n", encoding="utf-8")
