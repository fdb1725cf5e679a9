"""Detect objects in images with the network of this folder: print them, also as JSON, and draw them.

    python detect.py photo.jpg --draw detections.jpg

Exit codes: 0 done, even without detections; 2 an image or an option is wrong; 3 the
package is incomplete or its model cannot be run; 4 a Python package is missing.
"""

from __future__ import annotations

import argparse
import json
import sys

from network import Model
from pictures import Failure, count, draw, guarded, lines, plain, read_picture, row, share


def detect(options: argparse.Namespace) -> int:
    """Process each readable image; stderr names the others."""
    model, code, rows = Model(options.threads), 0, []
    model.demand_task()
    confidence = options.confidence or model.facts["confidence"]
    iou = options.iou or model.facts["iou"]
    for path in options.pictures:
        try:
            photo = read_picture(path)
            found = model.see(photo, confidence, iou)
            rows.append(row(path, photo, found, model.facts["classes"]))
            if not options.json:
                print("\n".join(lines(rows[-1])))
            if options.draw:
                draw(photo, found, model.facts["classes"], options.draw)
        except Failure as error:
            print(f"error: {plain(error)}", file=sys.stderr)
            code = error.code
    if options.json:
        report = {
            "model": {"sha256": model.sha256},
            "confidence": confidence,
            "iou": iou,
            "pictures": rows,
        }
        print(json.dumps(report, indent=1))
    return code


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description="Detect objects in images with the network of this folder."
    )
    add = parser.add_argument
    add(
        "pictures",
        nargs="+",
        metavar="IMAGE",
        help="JPEG, PNG or another format that Pillow reads",
    )
    add("--json", action="store_true", help="print JSON instead of lines")
    add("--draw", metavar="FILE", help="draw the detections into this file; only for one image")
    add("--confidence", type=share, metavar="SCORE", help="omit detections below this score")
    add(
        "--iou",
        type=share,
        help="of two boxes of a class that overlap more than this, omit the worse; no effect with a"
        " one-to-one head",
    )
    add("--threads", type=count, default=1, help="number of LiteRT's threads (1)")
    options = parser.parse_args()
    if options.draw and len(options.pictures) > 1:
        parser.error("--draw needs exactly one image")
    return options


if __name__ == "__main__":
    sys.exit(guarded(detect, parse()))
