"""Rules that several families' trainings share: when to validate, and which epoch is the best."""

from dataclasses import dataclass

from buildsys.spec import SettingProblem


def check_validation(validate: bool | int, patience: int | None) -> list[SettingProblem]:
    """Return what is wrong with `train.validate` and `train.patience`."""
    problems = []
    if validate is not True and validate is not False and validate < 1:
        message = f"`validate` is true, false, or every how many epochs, not {validate}"
        problems.append(SettingProblem(key=("validate",), message=message))
    if patience is not None and patience < 1:
        message = f"`patience` is at least 1, not {patience}"
        problems.append(SettingProblem(key=("patience",), message=message))
    elif patience is not None and not validate:
        message = "`patience` waits for a better epoch, and no epoch is validated"
        hint = "write `validate: true`"
        problems.append(SettingProblem(key=("patience",), message=message, hint=hint, at_key=True))
    return problems


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
