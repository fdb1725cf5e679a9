"""How many images of a dataset each split gets from shares."""


def divide(count: int, val: float, test: float) -> dict[str, int]:
    """Return the number of images by split; the rest after val and test, possibly none or less, is
    for training. A split with a share has at least one image.
    """
    in_val = max(1, round(count * val))
    in_test = max(1, round(count * test)) if test else 0
    return {"train": count - in_val - in_test, "val": in_val, "test": in_test}
