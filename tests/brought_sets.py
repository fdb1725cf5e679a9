"""One small labelled dataset in every supported form, with the same images and boxes.

Sides and corners are chosen so that shares are exact in text, pixels and float.
"""

import json
from collections.abc import Callable
from pathlib import Path

SIDE = 64
CLASSES = ("cell", "egg")
Box = tuple[str, int, int, int, int]
"""Class, left, upper, right, lower in pixels."""
SPLITS: dict[str, dict[str, tuple[Box, ...]]] = {
    "train": {
        "ab12-a": (("egg", 16, 8, 48, 40), ("cell", 0, 0, 8, 8)),
        "ab12-b": (("cell", 32, 32, 64, 64),),
        "ab12-c": (),
        "ab12-d": (("cell", 8, 16, 40, 48),),
    },
    "val": {"cd34-e": (("egg", 4, 4, 36, 44),), "cd34-f": (("cell", 24, 8, 56, 32),)},
}
"""Images by split, without endings; the first class in a file is not the first by name."""


def bring(form: str, root: Path, draw: Callable[[str, tuple[Box, ...]], bytes]) -> str:
    """Write the dataset in a form of `FORMS` below `root`; returns the argument for `new --data`.

    `draw`: returns the bytes of an image, a .bmp of SIDE x SIDE, for its name and boxes.
    """
    return FORMS[form](root, draw)


def _write(path: Path, data: bytes | str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data if isinstance(data, bytes) else data.encode())


def _roboflow(root: Path, draw: Callable[[str, tuple[Box, ...]], bytes]) -> str:
    """Roboflow's export "YOLOv8": `../` before each split, and a missing test split."""
    lines = ["train: ../train/images", "val: ../valid/images", "test: ../test/images", ""]
    lines += [f"nc: {len(CLASSES)}", f"names: {list(CLASSES)!r}", ""]
    lines += ["roboflow:", "  workspace: mine", "  project: cells", "  version: 1"]
    _write(root / "data.yaml", "\n".join(lines) + "\n")
    for split, folder in (("train", "train"), ("val", "valid")):
        for name, boxes in SPLITS[split].items():
            _write(root / folder / "images" / f"{name}.bmp", draw(name, boxes))
            _write(root / folder / "labels" / f"{name}.txt", "\n".join(map(share_line, boxes)))
    return "data.yaml"


def share_line(box: Box) -> str:
    """A line of Ultralytics and darknet: class, centre, size."""
    name, left, upper, right, lower = box
    figures = (
        (left + right) / 2 / SIDE,
        (upper + lower) / 2 / SIDE,
        (right - left) / SIDE,
        (lower - upper) / SIDE,
    )
    return " ".join([str(CLASSES.index(name)), *map(str, figures)])


def _voc(root: Path, draw: Callable[[str, tuple[Box, ...]], bytes]) -> str:
    """Folders of the VOC development kit, files as labelImg 1.8.6 writes them
    (libs/pascal_voc_io.py).
    """
    for split, images in SPLITS.items():
        _write(root / "ImageSets" / "Main" / f"{split}.txt", "\n".join(images) + "\n")
        for name, boxes in images.items():
            _write(root / "JPEGImages" / f"{name}.bmp", draw(name, boxes))
            _write(root / "Annotations" / f"{name}.xml", voc_text(f"{name}.bmp", boxes))
    return ""


def voc_text(image: str, boxes: tuple[Box, ...]) -> str:
    """One annotation file."""
    objects = "".join(
        f"\t<object>\n\t\t<name>{name}</name>\n\t\t<pose>Unspecified</pose>\n"
        "\t\t<truncated>0</truncated>\n\t\t<difficult>0</difficult>\n"
        f"\t\t<bndbox>\n\t\t\t<xmin>{left}</xmin>\n\t\t\t<ymin>{upper}</ymin>\n"
        f"\t\t\t<xmax>{right}</xmax>\n\t\t\t<ymax>{lower}</ymax>\n\t\t</bndbox>\n\t</object>\n"
        for name, left, upper, right, lower in boxes
    )
    return (
        "<annotation>\n\t<folder>JPEGImages</folder>\n"
        f"\t<filename>{image}</filename>\n\t<path>C:\\cells\\JPEGImages\\{image}</path>\n"
        "\t<source>\n\t\t<database>Unknown</database>\n\t</source>\n"
        f"\t<size>\n\t\t<width>{SIDE}</width>\n\t\t<height>{SIDE}</height>\n"
        f"\t\t<depth>3</depth>\n\t</size>\n\t<segmented>0</segmented>\n{objects}</annotation>\n"
    )


def _label_studio(root: Path, draw: Callable[[str, tuple[Box, ...]], bytes]) -> str:
    """Label Studio's export "COCO", one project per split: ids from 0, `file_name` as on Windows
    (label-studio-converter 0.0.59, `convert_to_coco`; HumanSignal/label-studio issue 7294).
    """
    for split, images in SPLITS.items():
        rows = [
            {"width": SIDE, "height": SIDE, "id": number, "file_name": f"images\\{name}.bmp"}
            for number, name in enumerate(images)
        ]
        labelled = [(i, box) for i, boxes in enumerate(images.values()) for box in boxes]
        objects = [
            {
                "id": number,
                "image_id": image,
                "category_id": CLASSES.index(name),
                "segmentation": [],
                "bbox": [float(left), float(upper), float(right - left), float(lower - upper)],
                "ignore": 0,
                "iscrowd": 0,
                "area": float((right - left) * (lower - upper)),
            }
            for number, (image, (name, left, upper, right, lower)) in enumerate(labelled)
        ]
        categories = [{"id": i, "name": name} for i, name in enumerate(CLASSES)]
        info = {"year": 2025, "version": "1.0", "contributor": "Label Studio"}
        data = {"images": rows, "categories": categories, "annotations": objects, "info": info}
        _write(root / split / "result.json", json.dumps(data, indent=2))
        for name, boxes in images.items():
            _write(root / split / "images" / f"{name}.bmp", draw(name, boxes))
    return "train/result.json"


def _darknet(root: Path, draw: Callable[[str, tuple[Box, ...]], bytes]) -> str:
    """CVAT's export "YOLO 1.1" (docs.cvat.ai, format-yolo): paths start at darknet's own folder."""
    lines = [f"classes = {len(CLASSES)}", "train = data/train.txt", "valid = data/valid.txt"]
    _write(root / "obj.data", "\n".join([*lines, "names = data/obj.names", "backup = backup/", ""]))
    _write(root / "obj.names", "\n".join(CLASSES) + "\n")
    for split, subset in (("train", "train"), ("val", "valid")):
        paths = [f"data/obj_{subset}_data/{name}.bmp" for name in SPLITS[split]]
        _write(root / f"{subset}.txt", "\n".join(paths) + "\n")
        for name, boxes in SPLITS[split].items():
            folder = root / f"obj_{subset}_data"
            _write(folder / f"{name}.bmp", draw(name, boxes))
            _write(folder / f"{name}.txt", "\n".join(map(share_line, boxes)))
    return ""


FORMS: dict[str, Callable[[Path, Callable[[str, tuple[Box, ...]], bytes]], str]] = {
    "roboflow": _roboflow,
    "voc": _voc,
    "label-studio": _label_studio,
    "darknet": _darknet,
}
