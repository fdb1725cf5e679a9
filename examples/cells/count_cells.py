"""Counts cells by kind: `python count_cells.py FILE`, in the JSON that `buildsys predict` writes.

On a Raspberry Pi, `detect.py --json` prints the same.
"""

import json
import sys
from collections import Counter
from pathlib import Path


def main() -> None:
    """A line for each image."""
    for image in json.loads(Path(sys.argv[1]).read_text())["pictures"]:
        counts = Counter(found["class"] for found in image["objects"])
        print(Path(image["picture"]).name, dict(sorted(counts.items())))


if __name__ == "__main__":
    main()
