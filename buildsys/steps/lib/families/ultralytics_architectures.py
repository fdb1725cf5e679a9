"""Decide which of Ultralytics' networks are supported, by name and by a checkpoint's head.

The exported heads (`heads.outputs`) have three or four grids of cells, and 16 bins per side of a
box; those of YOLO26 have no bins. Source: Ultralytics 8.4, cfg/models; tests/tools build each name and run its heads.
"""

import re

from buildsys.spec import STRIDE_SETS, STRIDES
from buildsys.steps.lib.families.ultralytics_tasks import HEADS

YOLOV10 = r"yolov10[nsmblx]"
YOLO26 = r"yolo26[nsmlx](-(seg|pose|obb|cls|p2|p6))?"
_KNOWN = (
    r"yolov3[nsmlx]?(-spp)?",
    r"yolov5[nsmlx](-p6)?",
    r"yolov6[nsmlx]",
    r"yolov8[nsmlx](-(ghost|seg|pose|obb|cls|cls-resnet50|cls-resnet101))?",
    r"yolov8[nsmlx](-(p2|p6|ghost-p2|ghost-p6|seg-p6|pose-p6))",
    r"yolov9[tsmce]|yolov9[ce]-seg",
    YOLOV10,
    r"yolo(11|12)[nsmlx](-(seg|pose|obb|cls))?",
    YOLO26,
)
ARCHITECTURES = "|".join(_KNOWN)
"""Regular expression of supported names."""

USUAL = tuple(
    f"{version}{size}{ending}"
    for version in ("yolov8", "yolo11", "yolo26")
    for size in "nsmlx"
    for ending in ("", "-seg", "-pose", "-obb", "-cls")
)
"""Names that are suggested for a misspelled one."""

_REFUSED = (
    (
        r"yolov3-tiny",
        "it has cells of stride 16 and 32; what is exported and decoded here has those of 8, too",
        "`architecture: yolov5n` is a small one that has them",
    ),
    (
        r".*-world(v2)?|yoloe-.*",
        "it gets its classes as words while it runs; no step here exports that",
        "train the classes with `architecture: {plain}`, or export it with them to ONNX elsewhere"
        " and give that file: `family: onnx`",
    ),
    (
        r"rtdetr-.*|.*-rtdetr",
        "RT-DETR's decoder has no step here",
        "`architecture: {plain}`; or export it to ONNX elsewhere and give that file: `family: onnx`",
    ),
    (
        r"yolo26.*-sem",
        "no step here measures or decodes semantic segmentation",
        "`architecture: {plain}-seg`",
    ),
    (
        r"yolo26.*-depth",
        "no step here measures or decodes depth",
        "`architecture: {plain}`",
    ),
    (
        r".*-cls-resnet18",
        "Ultralytics fetches its weights while it builds the network, and steps have no network access",
        "`architecture: yolo11n-cls`",
    ),
)
"""(Ultralytics' names, why they are not supported, what to use instead); `plain`: a supported name.
"""
_SMALL, _LARGE = STRIDE_SETS[1:]
_HEADS = {
    "WorldDetect": "yolov8n-world",
    "YOLOEDetect": "yoloe-11",
    "YOLOESegment": "yoloe-11-seg",
    "YOLOESegment26": "yoloe-11-seg",
    "RTDETRDecoder": "rtdetr-l",
}
"""Class of a checkpoint's last module -> an architecture that uses it."""
OTHER_HEADS = tuple(_HEADS)
"""Classes of heads that are not supported."""
_HEADS_26 = tuple(name for name in HEADS if name.endswith("26"))
_NAMELESS = (
    "its head is YOLO26's, and the file does not say which of its networks it is",
    "bring the checkpoint that Ultralytics' own training wrote; it holds the architecture's name",
)


def architecture_problem(name: str) -> tuple[str, str] | None:
    """Return why one of Ultralytics' networks is not supported, and what to use instead; None for
    any other name.
    """
    if re.fullmatch(ARCHITECTURES, name):
        return None
    for pattern, why, instead in _REFUSED:
        if re.fullmatch(pattern, name):
            return why, instead.format(plain=_plain(name))
    return None


def architecture_strides(name: str) -> tuple[int, ...]:
    """Return the strides of an architecture's cells: p2 has an additional grid for small objects,
    p6 one for large images.
    """
    words = name.split("-")[1:]
    return _SMALL if "p2" in words else _LARGE if "p6" in words else STRIDES


def head_problem(head: str, levels: int, bins: int, architecture: str) -> tuple[str, str] | None:
    """Return why a checkpoint is not supported, and what to use instead; None if it is. `levels`:
    number of grids, `bins`: bins per side of a box; 0 if the file does not state them.
    """
    known = architecture_problem(architecture)
    if known is not None:
        return known
    if head in _HEADS:
        return architecture_problem(_HEADS[head])
    if re.fullmatch(YOLO26, architecture):
        return None
    if head in _HEADS_26 or (bins == 1 and not architecture):
        return _NAMELESS
    wanted = len(architecture_strides(architecture))
    if levels not in (0, wanted):
        return (
            f"its head has {levels} grids of cells, and nothing says of which strides",
            "train one of Ultralytics' own architectures, for example yolov8n or yolov8n-p2",
        )
    if bins not in (0, 16):
        return (
            f"its box sides have {bins} bins; what is exported and decoded here has 16",
            "train another network, for example `architecture: yolo11n`",
        )
    return None


def _plain(name: str) -> str:
    """Return a supported name, of the same version, size and task if there is one."""
    found = re.match(r"yoloe?-?(v?\d+)([nsmlx]?)", name)
    version, size = (found[1], found[2] or "n") if found else ("v8", "n")
    task = next((word for word in ("seg", "pose", "obb", "cls") if f"-{word}" in name), "")
    for stem in (f"yolo{version}{size}", f"yolo11{size}"):
        full = f"{stem}-{task}" if task else stem
        if re.fullmatch(ARCHITECTURES, full):
            return full
    return "yolo11n"
