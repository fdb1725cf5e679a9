"""Check the settings that several families' trainings share."""

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
