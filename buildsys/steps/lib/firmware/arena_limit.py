"""Compare the tensor arena that a model needs with the one that a firmware has."""


def find_excess(need: int, by: str, firmware: str, arena_kib: int) -> str:
    """Return what is exceeded, as a sentence; "" if the model fits, or the arena is unknown (0).

    `need`: bytes; `by`: the source of that figure.
    """
    if not arena_kib or need <= arena_kib * 1024:
        return ""
    return (
        f"it needs {need / 1024:.0f} KiB of tensor arena (by {by}), {firmware} has {arena_kib} KiB"
    )
