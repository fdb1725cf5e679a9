"""What became of a build, or how it stands: a kind with what it is about, never a text to be parsed."""

from dataclasses import dataclass
from enum import StrEnum


class Kind(StrEnum):
    """How a build stands. A run ends with one of the first ten; a look can also find the others."""

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
    """One build's fate. `str()` of it is its text everywhere: in the table, the report and as JSON.

    `subject`: the stage that failed, rejects or was interrupted, the build that blocks, what is waited
    for; `detail`: why, in a sentence; `portable`: another machine has what it waits for, and a bundle
    can be carried there; `differs`: in sentences, where what is there to ship is not what buildsys.lock
    records.
    """

    kind: Kind
    subject: str = ""
    detail: str = ""
    portable: bool = False
    differs: tuple[str, ...] = ()

    @property
    def good(self) -> bool:
        """Whether there is something to ship."""
        return self.kind in _GOOD

    @property
    def headline(self) -> str:
        """The text without its detail."""
        text = f"{_JOINTS[self.kind]} {self.subject}" if self.subject else str(self.kind)
        return f"{text}, differs from lock" if self.differs else text

    def __str__(self) -> str:
        return f"{self.headline}: {self.detail}" if self.detail else self.headline


BUILT = Outcome(kind=Kind.BUILT)
RESTORED = Outcome(kind=Kind.RESTORED)
UP_TO_DATE = Outcome(kind=Kind.UP_TO_DATE)
HAS_MISTAKE = Outcome(kind=Kind.FAILED, subject="check")
"""The outcome of a recipe with a mistake: its builds are unknown."""
