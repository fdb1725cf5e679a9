"""The outcome of a build as text."""

import pytest

from buildsys.outcome import BUILT, HAS_MISTAKE, UP_TO_DATE, Kind, Outcome

TEXTS = {
    "built": BUILT,
    "up-to-date": UP_TO_DATE,
    "failed at check": HAS_MISTAKE,
    "failed at train": Outcome(kind=Kind.FAILED, subject="train"),
    "blocked by a@host": Outcome(kind=Kind.BLOCKED, subject="a@host"),
    "waiting for a.zip": Outcome(kind=Kind.WAITING, subject="a.zip"),
    "interrupted": Outcome(kind=Kind.INTERRUPTED),
    "interrupted at train": Outcome(kind=Kind.INTERRUPTED, subject="train"),
    "rejected": Outcome(kind=Kind.REJECTED),
    "rejected by gate: too low": Outcome(kind=Kind.REJECTED, subject="gate", detail="too low"),
    "broken: no such file": Outcome(kind=Kind.BROKEN, detail="no such file"),
    "not finished": Outcome(kind=Kind.NOT_FINISHED),
}


@pytest.mark.parametrize("text", TEXTS)
def test_a_kind_and_what_it_is_about_make_the_text(text: str) -> None:
    """An outcome's text consists of its kind and its subject."""
    assert str(TEXTS[text]) == text


def test_only_what_can_ship_is_good() -> None:
    """Only outcomes with a package are good."""
    good = {kind for kind in Kind if Outcome(kind=kind).good}
    assert good == {Kind.BUILT, Kind.RESTORED, Kind.UP_TO_DATE}
