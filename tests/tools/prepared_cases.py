"""Compares our reading of unusual images and labels with Ultralytics' own.

`python -m tests.tools.prepared_cases FOLDER` in the environment `ultralytics` prints JSON: how far
the pixels of each source image are apart (ours, Ultralytics', Pillow's as a package's program reads
it), and what Ultralytics takes of the prepared dataset.
"""

import contextlib
import io
import json
import runpy
import sys
from pathlib import Path
from typing import Any

from buildsys.steps import prepare_dataset
from buildsys.steps.lib.datasets.labels import Layout, parse
from buildsys.steps.lib.datasets.samples import Sample
from buildsys.steps.lib.datasets.ultralytics_layout import Split
from buildsys.steps.lib.families import ultralytics_setup
from buildsys.steps.lib.images import decoding, jpeg_file

PROGRAM = Path(__file__).parents[2] / "buildsys" / "templates" / "common" / "pictures.py"
LABELS = "\ufeff0 .5 .5 .3 .3\r\n1 .25 .25 .1 .1\r\n0 .50 .5 .3 .3\r\n1 .1 .2 .5 .2 .5 .6\r\n"
KEPT = ("grey.jpg", "progressive.jpg", "rgb.bmp", "rgb.jpg", "rgb.png", "rgb.webp")
"""Images whose bytes are kept."""
CUT = ("behind.jpg", "named.png", "photo.jpg", "two.mpo")
"""JPEGs that lose what follows their image; the others become PNG."""


def draw(folder: Path) -> None:
    """Write the same image in every supported file format."""
    import cv2
    import numpy as np
    from PIL import Image, ImageCms

    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    base = cv2.resize(rng.integers(0, 256, (6, 8, 3), np.uint8), (64, 48))
    rgb = Image.fromarray(base[..., ::-1].copy())
    grey = rgb.convert("L")
    alpha = rgb.copy()
    alpha.putalpha(grey)
    saved: dict[str, Any] = {
        "rgb.jpg": rgb,
        "rgb.png": rgb,
        "rgb.bmp": rgb,
        "rgb.webp": rgb,
        "rgb.tiff": rgb,
        "grey.jpg": grey,
        "alpha.png": alpha,
        "alpha.webp": alpha,
        "palette.png": rgb.convert("P"),
        "cmyk.jpg": rgb.convert("CMYK"),
    }
    for name, picture in saved.items():
        picture.save(folder / name)
    rgb.save(folder / "progressive.jpg", progressive=True)
    rgb.save(folder / "two.mpo", save_all=True, append_images=[rgb.rotate(180)])
    upright = Image.Exif()
    upright[0x0112] = 1
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    photo = {"format": "MPO", "save_all": True, "append_images": [rgb.rotate(180)]}
    rgb.save(folder / "photo.jpg", exif=upright, icc_profile=profile, **photo)
    (folder / "named.png").write_bytes((folder / "rgb.jpg").read_bytes())
    turned = Image.Exif()
    turned[0x0112] = 6
    for name in ("turned.jpg", "turned.png", "turned.tif"):
        rgb.save(folder / name, exif=turned)
    wide = base.astype(np.uint16) * 250 + 9
    cv2.imwrite(str(folder / "wide.png"), wide)
    cv2.imwrite(str(folder / "wide_grey.png"), wide[..., 0])
    cv2.imwrite(str(folder / "wide_grey.tif"), wide[..., 0])
    (folder / "behind.jpg").write_bytes((folder / "rgb.jpg").read_bytes() + b"a camera's own data")


def main(root: Path) -> dict[str, Any]:
    """Run the cases; see the module."""
    ultralytics_setup.prepare(root)
    import numpy as np
    from ultralytics.data.dataset import YOLODataset
    from ultralytics.utils.patches import imread

    pictures = runpy.run_path(str(PROGRAM))
    source, target = root / "images" / "set", root / "images" / "prepared"
    draw(source / "images" / "train")
    (source / "labels" / "train").mkdir(parents=True)
    found: dict[str, Any] = {
        "ultralytics": {},
        "program": {},
        "prepared": {},
        "kept": [],
        "cut": [],
    }
    decoded = {}
    for path in sorted((source / "images" / "train").iterdir()):
        label = source / "labels" / "train" / f"{path.stem}.txt"
        label.write_text(LABELS, encoding="utf-8", newline="")
        photo = decoding.read(path)
        assert photo.image is not None, path.name
        ours = decoded[f"images/train/{path.name}"] = photo.image.astype(int)
        theirs = np.broadcast_to(imread(str(path)), ours.shape).astype(int)
        program = pictures["read_picture"](str(path))[..., ::-1].astype(int)
        found["ultralytics"][path.name] = int(abs(ours - theirs).max())
        found["program"][path.name] = int(abs(ours - program).max())
        found["kept"] += [path.name] if photo.plain else []
    target.mkdir()
    names = list(decoded)
    params = prepare_dataset.Params(
        format="ultralytics",
        splits=(Split(name="train", paths=("images/train",)),),
        classes=("no", "yes"),
        shape="box",
    )
    prepare_dataset.run({"dataset": source}, {"dataset": target}, params)
    stems = prepare_dataset.choose_stems(
        source, params.splits[0], tuple(Sample(image=name) for name in names), params
    )
    for name, stem in zip(names, stems, strict=True):
        (path,) = (target / "images" / "train").glob(f"{stem}.*")
        ours = decoded[name]
        theirs = np.broadcast_to(imread(str(path)), ours.shape).astype(int)
        program = pictures["read_picture"](str(path))[..., ::-1].astype(int)
        found["prepared"][name] = int(abs(ours - theirs).max())
        found["program"][f"prepared {name}"] = int(abs(ours - program).max())
        if path.suffix.lower() in jpeg_file.SUFFIXES and not path.is_symlink():
            found["cut"].append(Path(name).name)
    data = {"names": {0: "no", 1: "yes"}, "channels": 3}
    with contextlib.redirect_stdout(io.StringIO()):
        theirs_ = YOLODataset(str(target / "images" / "train"), data=data, task="detect", imgsz=32)
    rows, _ = parse(
        LABELS.removeprefix("\ufeff"), "", Layout(classes=("", ""), keypoints=0, dims=0)
    )
    wanted = sorted([item.category, *np.float32(item.box).tolist()] for _, item in rows)
    found["images"] = len(theirs_.labels)
    found["sources"] = len(list((source / "images" / "train").iterdir()))
    found["labels"] = all(
        np.allclose(
            sorted(np.concatenate([label["cls"], label["bboxes"]], 1).tolist()), wanted, atol=1e-6
        )
        for label in theirs_.labels
    )
    found["plain"] = all(
        decoding.read(path).plain for path in (target / "images" / "train").iterdir()
    )
    return found


if __name__ == "__main__":
    print(json.dumps(main(Path(sys.argv[1]))))
