"""Golden files of messages: reviewed like code, rewritten with UPDATE_GOLDEN=1."""

import os
from collections.abc import Iterable
from pathlib import Path

HERE = Path(__file__).parent


def inputs(folder: str) -> dict[str, Path]:
    """The wrong files in a folder, by name."""
    return {path.stem: path for path in sorted((HERE / folder).glob("*.yaml"))}


def compare(text: str, given: Path, bugs: Iterable[str]) -> None:
    """Compare with the golden file next to `given`, which may be missing for a known bug."""
    golden = given.with_suffix(".txt")
    if given.stem in bugs and not golden.exists():
        return
    if os.environ.get("UPDATE_GOLDEN") and given.stem not in bugs:
        golden.write_text(text, encoding="utf-8")
    assert text == golden.read_text(encoding="utf-8")


def orphans(folder: str) -> set[str]:
    """Golden files without a case."""
    return {path.stem for path in (HERE / folder).glob("*.txt")} - inputs(folder).keys()
