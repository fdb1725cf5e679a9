"""buildsys.lock: what was found and what was recorded, one line a fact, sorted; committed.

    dataset data/tags/data.yaml {"digest":"…","names":["tag"],…}
    model weights/start.pt {"digest":"…","task":"pose",…}
    training tags 5c0e… {"checkpoint":"…","device":"cpu","seconds":61.2,…}

With it a machine that has no dataset plans and restores, and nobody trains again what was trained:
training is recorded, everything after it is derived again bit for bit.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from buildsys.errors import InputError
from buildsys.files import write_atomic
from buildsys.spec import Format

_HEADER = "# buildsys.lock: facts and recorded trainings; written by buildsys, committed by people"


@dataclass(frozen=True, kw_only=True)
class Lock:
    """The lines of the file: (key, JSON), sorted by key."""

    lines: tuple[tuple[str, str], ...] = ()

    def digest(self, key: str) -> str:
        """The recorded digest of a line such as "dataset data/tags/data.yaml", or nothing."""
        text = dict(self.lines).get(key)
        return str(json.loads(text).get("digest", "")) if text else ""

    def trainings(self) -> dict[str, dict[str, Any]]:
        """Recorded trainings by the digest of the slice that they came from."""
        found = {}
        for key, text in self.lines:
            words = key.split(" ")
            if words[0] == "training" and len(words) == 3:
                found[words[2]] = json.loads(text)
        return found


def training_outputs(recorded: dict[str, Any]) -> dict[str, str]:
    """Digests of a recorded training by output: the checkpoint, and its curves where they are known."""
    known = (Format.CHECKPOINT, Format.TRAINING)
    return {str(name): str(recorded[name]) for name in known if name in recorded}


def read_lock(path: Path) -> Lock:
    """The file, or an empty lock where there is none. Raises InputError for a line that is none."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return Lock()
    except (OSError, UnicodeDecodeError) as error:
        message = f"cannot be read: {error}"
        raise InputError.at(path.name, message) from error
    lines = []
    for number, line in enumerate(text.splitlines(), 1):
        if line.strip() and not line.startswith("#"):
            lines.append(_parse(line, path.name, number))
    return Lock(lines=tuple(sorted(lines)))


def _parse(line: str, name: str, number: int) -> tuple[str, str]:
    key, brace, rest = line.partition(" {")
    try:
        if not isinstance(json.loads(brace.strip() + rest), dict):
            raise ValueError
    except ValueError as error:
        conflict = line[:7] in ("<<<<<<<", "=======", ">>>>>>>")
        hint = "keep the lines of both sides" if conflict else "delete the line; it is found again"
        message = "a merge was left unfinished here" if conflict else "this is no fact"
        raise InputError.at(
            name, message, hint, line=number, column=1, source=line[:100]
        ) from error
    return key, brace.strip() + rest


def write_lock(path: Path, lock: Lock) -> bool:
    """Write it, if it says something new; returns whether it does."""
    text = "\n".join([_HEADER, *(f"{key} {value}" for key, value in sorted(lock.lines))]) + "\n"
    try:
        if path.read_text(encoding="utf-8") == text:
            return False
    except (OSError, UnicodeDecodeError):
        if not lock.lines:
            return False
    write_atomic(path, text)
    return True
