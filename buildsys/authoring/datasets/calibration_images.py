"""Calibration pictures that are given by a pattern."""

from pathlib import Path


def split_glob(pattern: str) -> tuple[str, str]:
    """ "data/cam/**/*.jpg" -> the folder without wildcards, and the rest."""
    parts = pattern.split("/")
    fixed = next((i for i, part in enumerate(parts) if set(part) & set("*?[")), len(parts) - 1)
    return "/".join(parts[:fixed]) or ".", "/".join(parts[fixed:])


def matches_anything(workspace: Path, pattern: str) -> bool:
    """Whether a single file is found; a pattern that is none finds nothing."""
    root, rest = split_glob(pattern)
    try:
        return any(path.is_file() for path in (workspace / root).glob(rest))
    except (OSError, ValueError, NotImplementedError):
        return False
