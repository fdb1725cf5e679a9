"""When a training validates, and which epoch is the best: the same rules for several families."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Best:
    """The best epoch so far and its fitness; epoch 0: no epoch was validated."""

    epoch: int = 0
    fitness: float = 0.0

    def after(self, epoch: int, fitness: float) -> "Best":
        """Return the best after one more epoch; while the fitness is 0 the latest epoch is the
        best, as in Ultralytics.
        """
        better = fitness > self.fitness or self.fitness == 0
        return Best(epoch=epoch, fitness=fitness) if better else self


def is_due(epoch: int, epochs: int, every: int, best: Best, patience: int) -> bool:
    """Return whether an epoch, counted from 1, is validated: every n-th, the last, and those at
    which patience may end the training.
    """
    ending = epoch == epochs or (patience > 0 and best.epoch > 0 and epoch - best.epoch >= patience)
    return bool(every) and (epoch % every == 0 or ending)
