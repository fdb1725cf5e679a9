"""Golden files of commands' output; UPDATE_GOLDEN=1 writes them."""

import os
import re
from pathlib import Path

HERE = Path(__file__).parent / "golden"


def check(name: str, text: str, *places: Path) -> None:
    """Compare with golden/NAME.txt; folders of this run, sizes and seconds are replaced by
    placeholders.
    """
    for index, place in enumerate(places):
        text = text.replace(str(place), f"PLACE{index or ''}")
    text = re.sub(r"\d+(\.\d+)? (bytes|[KMGT]iB)\b", "SIZE", text)  # the unit depends on the host
    text = re.sub(r"\d+(\.\d+)? (s|min)\b", "N \\2", text)
    text = re.sub(r"(?m)^\[ *N s\] ", "[N s] ", text)
    text = re.sub(r"\b[0-9a-f]{2}/(?=[0-9a-f]{12,64}\b)", "XX/", text)
    text = re.sub(r"\b[0-9a-f]{12,64}\b", "DIGEST", text)
    path = HERE / f"{name}.txt"
    if os.environ.get("UPDATE_GOLDEN"):
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
    assert text == path.read_text(encoding="utf-8")
