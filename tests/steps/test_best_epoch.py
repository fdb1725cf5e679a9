"""Which epoch is the best, when one is validated."""

import pytest

from buildsys.steps.lib.families.training_settings import Best, is_due


def after(*fitness: float) -> Best:
    """The best of epochs with these."""
    best = Best()
    for epoch, value in enumerate(fitness, 1):
        best = best.after(epoch, value)
    return best


def test_of_equal_epochs_the_first_is_the_best() -> None:
    """Later ones waited for nothing better."""
    assert after(0.1, 0.5, 0.5, 0.4) == Best(epoch=2, fitness=0.5)


def test_while_nothing_is_found_the_latest_is_the_best() -> None:
    """As Ultralytics has it: patience does not end a training that has not begun to see."""
    assert after(0.0, 0.0) == Best(epoch=2, fitness=0.0)


@pytest.mark.parametrize(
    ("every", "patience", "best", "due"),
    [
        (0, 0, 0, []),
        (1, 0, 0, [1, 2, 3, 4, 5, 6, 7]),
        (3, 0, 0, [3, 6, 7]),
        (3, 2, 3, [3, 5, 6, 7]),
    ],
)
def test_epochs_are_validated_every_n_at_the_end_and_where_patience_may_end(
    every: int, patience: int, best: int, due: list[int]
) -> None:
    """Of seven; with a patience of 2 after the third the fifth decides."""
    found = Best(epoch=best, fitness=0.5)
    assert [n for n in range(1, 8) if is_due(n, 7, every, found, patience)] == due
