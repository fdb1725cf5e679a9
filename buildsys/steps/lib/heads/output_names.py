"""Find which output of a file is which of a head: by name, then by shape, then by position.

Files of other tools name their outputs as they like (`output0`, `StatefulPartitionedCall:3`), in any
order. Only the standard library is used.
"""

from collections.abc import Mapping, Sequence

Shape = tuple[int | None, ...] | None
"""The axes of an output, None for one that is open; None instead of them if all are unknown."""


def assign(
    wanted: Mapping[str, tuple[int, ...]], found: Sequence[tuple[str, Shape]]
) -> tuple[str, ...] | None:
    """Return the head's name of each output of a file, in file order; None if they do not match.

    `wanted`: the head's outputs in their order; `found`: names and shapes of the file's. An output
    has its own name if that is the head's and the shape fits. The others are those with the only
    fitting shape; outputs of equal shape are in the head's order.
    """
    if len(wanted) != len(found):
        return None
    left, names = dict(wanted), dict[int, str]()
    for place, (name, shape) in enumerate(found):
        if name in left and alike(left[name], shape):
            names[place] = name
            del left[name]
    while left:
        fitting = {
            place: [name for name, wish in left.items() if alike(wish, shape)]
            for place, (_, shape) in enumerate(found)
            if place not in names
        }
        place = min(fitting, key=lambda each: (len(fitting[each]) > 1, each))
        if not all(fitting.values()):
            return None
        names[place] = fitting[place][0]
        del left[names[place]]
    return tuple(names[place] for place in range(len(found)))


def alike(wanted: tuple[int, ...], found: Shape) -> bool:
    """Return whether a file's output may have a shape: an open axis fits any size, and four axes
    may have the channels before height and width.
    """
    if found is None:
        return True
    shapes = [wanted]
    if len(wanted) == 4:
        shapes.append((wanted[0], wanted[3], wanted[1], wanted[2]))
    return any(
        len(shape) == len(found)
        and all(here in (None, side) for side, here in zip(shape, found, strict=True))
        for shape in shapes
    )
