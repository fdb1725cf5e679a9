"""Read and write a model's outputs for prepared images as one .npz file, for the parity ladder.

Per output it has an array `<name>`, [n, *shape without batch], in the runtime's dtype; for integers
also the scalars `<name>:scale` float32 and `<name>:zero_point` int32. Arrays are in the order of
the model's outputs, by which firmware may decode. Equal content gives equal bytes, because NumPy
writes no dates (1980 in every entry).
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from buildsys.spec import Preprocessing
from buildsys.steps.lib.runtime.progress import fail, report

if TYPE_CHECKING:
    import numpy as np


@dataclass(frozen=True, kw_only=True)
class Output:
    """One output over n images: values [n, *shape without batch].

    `scale` and `zero_point` are None for floating-point values.
    """

    name: str
    values: "np.ndarray"
    scale: float | None = None
    zero_point: int | None = None

    def real(self) -> "np.ndarray":
        """Return the values as float32: (q - zero_point) * scale for integers."""
        import numpy as np

        if self.scale is None or self.zero_point is None:
            return self.values.astype(np.float32)
        return (self.values.astype(np.float32) - self.zero_point) * np.float32(self.scale)


Recording = tuple[Output, ...]
"""Outputs in the order of the model's file."""

Run = Callable[["np.ndarray"], Iterable[Output]]
"""A function: image uint8 [h, w, 3] -> outputs whose values have the batch axis."""


def record(run: Run, pictures: "np.ndarray", target: Path) -> None:
    """Run the model on each image, uint8 [n, h, w, 3], and write the file."""
    answers = []
    for index, picture in enumerate(pictures):
        answers.append(tuple(run(picture)))
        report(index + 1, len(pictures), "images")
    save(target, gather(answers))


def gather(answers: list[Recording]) -> Recording:
    """Join the outputs for single images to one recording."""
    import numpy as np

    return tuple(
        Output(
            name=first.name,
            values=np.concatenate([answer[place].values for answer in answers]),
            scale=first.scale,
            zero_point=first.zero_point,
        )
        for place, first in enumerate(answers[0])
    )


def save(path: Path, recording: Recording) -> None:
    """Write a recording; the file's bytes depend only on the values."""
    import numpy as np

    arrays: dict[str, np.ndarray] = {}
    for output in recording:
        arrays[output.name] = output.values
        if output.scale is not None:
            arrays[f"{output.name}:scale"] = np.float32(output.scale)
            arrays[f"{output.name}:zero_point"] = np.int32(output.zero_point)
    with path.open("wb") as stream:  # NumPy would append a suffix to a path
        np.savez(stream, **arrays)


def load(path: Path) -> Recording:
    """Read a recording, with outputs in file order."""
    import numpy as np

    with np.load(path) as arrays:
        return tuple(
            Output(
                name=name,
                values=arrays[name],
                scale=float(arrays[f"{name}:scale"]) if f"{name}:scale" in arrays else None,
                zero_point=int(arrays[f"{name}:zero_point"])
                if f"{name}:zero_point" in arrays
                else None,
            )
            for name in arrays.files
            if ":" not in name
        )


def pictures(folder: Path | None, frame: Preprocessing, count: int) -> "np.ndarray":
    """Return the first `count` prepared images, uint8 [n, h, w, 3]; synthetic ones without data."""
    from buildsys.steps.lib.images import prepared_images

    return prepared_images.load(folder, frame)[:count]


def name_outputs(found: list[str], wanted: tuple[str, ...], model: Path) -> list[str]:
    """Return canonical names for outputs in file order. The file's own names are used if they are
    canonical, otherwise the order decides. Ends the step if the counts differ.
    """
    if not wanted or set(found) == set(wanted):
        return found
    if len(found) != len(wanted):
        fail(
            f"{model.resolve().name} has {len(found)} outputs ({', '.join(found)}); the recipe's"
            f" network has {len(wanted)} ({', '.join(wanted)})."
        )
    return list(wanted)
