"""State what a model needs of a firmware's memory and what the firmware has."""


def find_excess(need: int, by: str, firmware: str, arena_kib: int) -> str:
    """Return what exceeds the tensor arena, as a sentence; "" if the model fits, or the arena is
    unknown (0).

    `need`: bytes; `by`: the source of that figure.
    """
    if not arena_kib or need <= arena_kib * 1024:
        return ""
    return (
        f"it needs {needed_kib(need)} KiB of tensor arena (by {by}), {firmware} has {arena_kib} KiB"
    )


def needed_kib(count: int) -> int:
    """Return bytes as KiB, rounded up, so that what exceeds a limit is never equal to it."""
    return -(-count // 1024)
