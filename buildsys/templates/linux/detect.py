"""What the packed network sees on pictures: printed, as JSON, drawn.

    python detect.py photo.jpg --draw seen.jpg

Exit codes: 0 done, whether or not anything was seen; 2 a picture or an option is wrong; 3 the
package is incomplete or its model cannot be run; 4 a Python package is missing.
"""

from __future__ import annotations

import argparse
import json
import sys

from network import Model
from pictures import Failure, count, draw, guarded, lines, plain, read_picture, row, share


def detect(options: argparse.Namespace) -> int:
    """Each image that can be read; stderr names the others."""
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
    """The command line."""
    parser = argparse.ArgumentParser(description="What the packed network sees on pictures.")
    add = parser.add_argument
    add(
        "pictures",
        nargs="+",
        metavar="PICTURE",
        help="a photograph: JPEG, PNG or what Pillow reads",
    )
    add("--json", action="store_true", help="print JSON in place of lines")
    add("--draw", metavar="FILE", help="write the picture with what was seen; for one picture")
    add("--confidence", type=share, metavar="SCORE", help="leave out what is below")
    add(
        "--iou",
        type=share,
        help="of two boxes of a class that overlap by more, leave out the worse; without effect on a"
        " one-to-one head",
    )
    add("--threads", type=count, default=1, help="that LiteRT computes with (1)")
    options = parser.parse_args()
    if options.draw and len(options.pictures) > 1:
        parser.error("--draw is for one picture at a time")
    return options


if __name__ == "__main__":
    sys.exit(guarded(detect, parse()))
