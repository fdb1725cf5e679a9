"""Which epoch is the best, and when epochs are validated."""

import pytest

from buildsys.steps.lib.training.best_epoch import Best, is_due


def after(*fitness: float) -> Best:
    """The best of epochs with these values."""
    best = Best()
    for epoch, value in enumerate(fitness, 1):
        best = best.after(epoch, value)
    return best


def test_of_equal_epochs_the_first_is_the_best() -> None:
    """Of equal epochs the first is the best."""
    assert after(0.1, 0.5, 0.5, 0.4) == Best(epoch=2, fitness=0.5)


def test_while_nothing_is_found_the_latest_is_the_best() -> None:
    """While nothing is detected the latest epoch is the best, as in Ultralytics, so that patience
    does not end the training.
    """
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
    """Which of seven epochs are validated; with patience 2 after the third, the fifth is."""
    found = Best(epoch=best, fitness=0.5)
    assert [n for n in range(1, 8) if is_due(n, 7, every, found, patience)] == due
