"""The outcome or state of a build: a kind and what it is about, never a text to be parsed."""

from dataclasses import dataclass
from enum import StrEnum


class Kind(StrEnum):
    """The states of a build.

    A run ends with one of the first ten; `buildsys plan` may show the others.
    """

    BUILT = "built"
    RESTORED = "restored"
    UP_TO_DATE = "up-to-date"
    WAITING = "waiting"
    REJECTED = "rejected"
    FAILED = "failed"
    BLOCKED = "blocked"
    INTERRUPTED = "interrupted"
    NOT_IN_LOCK = "not in buildsys.lock"
    NOT_FINISHED = "not finished"
    RESTORABLE = "restorable"
    STALE = "stale"
    BROKEN = "broken"
    NOT_BUILT = "not built"


_GOOD = (Kind.BUILT, Kind.RESTORED, Kind.UP_TO_DATE)
_JOINTS = {
    Kind.WAITING: "waiting for",
    Kind.REJECTED: "rejected by",
    Kind.FAILED: "failed at",
    Kind.BLOCKED: "blocked by",
    Kind.INTERRUPTED: "interrupted at",
    Kind.NOT_IN_LOCK: "not in buildsys.lock:",
}


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """One build's outcome; `str()` of it is its text in the table, the report and JSON.

    `subject`: the stage that failed, rejects or was interrupted, the build that blocks, or what is
    waited for; `detail`: the reason, in a sentence; `portable`: another machine has what it waits
    for, and a bundle can be carried there; `differs`: sentences about differences from
    buildsys.lock.
    """

    kind: Kind
    subject: str = ""
    detail: str = ""
    portable: bool = False
    differs: tuple[str, ...] = ()

    @property
    def good(self) -> bool:
        """Return whether there is a package to ship."""
        return self.kind in _GOOD

    @property
    def headline(self) -> str:
        """Return the text without its detail."""
        text = f"{_JOINTS[self.kind]} {self.subject}" if self.subject else str(self.kind)
        return f"{text}, differs from lock" if self.differs else text

    def __str__(self) -> str:
        return f"{self.headline}: {self.detail}" if self.detail else self.headline


BUILT = Outcome(kind=Kind.BUILT)
RESTORED = Outcome(kind=Kind.RESTORED)
UP_TO_DATE = Outcome(kind=Kind.UP_TO_DATE)
HAS_MISTAKE = Outcome(kind=Kind.FAILED, subject="check")
"""The outcome of a recipe with a mistake: its builds are unknown."""
