"""What the engine of this folder sees on photographs: printed, as JSON, drawn.

    python run.py photo.jpg --draw seen.jpg
    python run.py

Without a photograph the engine is loaded and run once, on zeros. `--save` writes what it answered,
and `--outputs` decodes such a file in place of running the engine, on a machine without a GPU. Exit
codes: 0 done, 2 a picture or an option is wrong, 3 the engine cannot be used here, 4 a Python
package or a library is missing. Nobody has run an engine with it yet; decoding is tested.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pictures import Failure, draw, guarded, lines, read_picture, row, share
from runtime import Engine, Refused, open_engine

if TYPE_CHECKING:
    import numpy as np
    import vision

HERE = Path(__file__).resolve().parent


def read_facts() -> dict[str, Any]:
    """engine.json. Raises Failure."""
    try:
        facts: dict[str, Any] = json.loads((HERE / "engine.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise Failure(f"engine.json cannot be read ({error}): copy the package again", 3) from error
    return facts


def open_here(facts: dict[str, Any]) -> Engine:
    """The engine of this folder. Raises Failure."""
    try:
        return open_engine(facts, HERE / facts["file"])
    except Refused as error:
        raise Failure(str(error), error.code) from error


def demand_task(facts: dict[str, Any]) -> None:
    """Raises Failure for an engine whose outputs nobody explains."""
    if facts["preprocessing"] is None or facts["head"] == "none":
        raise Failure(
            "nobody said how pictures become this engine's input or what its outputs mean: run.py"
            " without a picture only runs it", 3,
        )  # fmt: skip


def prepare(placed: vision.Placed, least: int) -> np.ndarray:
    """A picture in its frame -> float32 [least, 3, height, width]; a larger batch repeats it."""
    import numpy as np

    values = placed.pixels.transpose(2, 0, 1)[None].astype(np.float32) / 255
    return np.repeat(values, least, 0)


def ask(engine: Engine, batch: np.ndarray) -> dict[str, np.ndarray]:
    """What the engine answers. Raises Failure."""
    try:
        outputs: dict[str, np.ndarray] = engine.infer(batch)
        return outputs
    except Refused as error:
        raise Failure(str(error), error.code) from error


def try_out(facts: dict[str, Any]) -> int:
    """Load, run on zeros, and print the ranges of the outputs."""
    import numpy as np

    engine = open_here(facts)
    batch = np.zeros((engine.batch[0], *engine.shape[1:]), np.float32)
    for name, values in ask(engine, batch).items():
        print(f"{name}: {values.shape}, {values.min():g} to {values.max():g}")
    return 0


def read_outputs(path: str) -> dict[str, np.ndarray]:
    """Outputs by name, of `--save` or of a program of your own. Raises Failure."""
    import numpy as np

    try:
        with np.load(path) as held:
            return {name: held[name] for name in held.files}
    except (OSError, ValueError, AttributeError) as error:
        raise Failure(f"{path}: is no file of outputs: {error}", 2) from error


def look(
    path: str, facts: dict[str, Any], engine: Engine | None, options: argparse.Namespace
) -> Any:
    """One photograph's entry of the JSON. Raises Failure."""
    import shapes
    import vision

    photo, frame = read_picture(path), facts["preprocessing"]
    placed = vision.place(photo, frame["height"], frame["width"], frame["resize"])
    if engine is None:
        outputs = read_outputs(options.outputs)
    else:
        outputs = ask(engine, prepare(placed, engine.batch[0]))
    if options.save:
        save(options.save, outputs)
    confidence, iou = options.confidence or facts["confidence"], options.iou or facts["iou"]
    try:
        found = shapes.see(outputs, facts, photo, placed, confidence, iou)
    except (KeyError, ValueError) as error:
        listed = ", ".join(f"{name} {list(value.shape)}" for name, value in outputs.items())
        message = f"the outputs are {listed}: not those of the head `{facts['head']}`"
        raise Failure(message, 3) from error
    if options.draw:
        draw(photo, found, facts["classes"], options.draw)
    return row(path, photo, found, facts["classes"])


def save(target: str, outputs: dict[str, np.ndarray]) -> None:
    """Outputs by name, as .npz. Raises Failure."""
    import numpy as np

    try:
        with Path(target).open("wb") as file:
            np.savez(file, **outputs)
    except OSError as error:
        raise Failure(f"{target}: cannot be written: {error.strerror}", 2) from error


def run(options: argparse.Namespace) -> int:
    """Each picture that can be read; the others are told on stderr."""
    facts = read_facts()
    if not options.pictures:
        return try_out(facts)
    demand_task(facts)
    engine = None if options.outputs else open_here(facts)
    code, rows = 0, []
    for path in options.pictures:
        try:
            rows.append(look(path, facts, engine, options))
        except Failure as error:
            print(f"error: {error}", file=sys.stderr)
            code = error.code
            continue
        if not options.json:
            print("\n".join(lines(rows[-1])))
    if options.json:
        told = {"model": {"sha256": facts["sha256"]}, "pictures": rows}
        print(json.dumps(told, indent=1, ensure_ascii=False))
    return code


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description="What the engine of this folder sees on pictures.")
    add = parser.add_argument
    add("pictures", nargs="*", metavar="PICTURE", help="JPEG, PNG or what Pillow reads")
    add("--json", action="store_true", help="print JSON in place of lines")
    add("--draw", metavar="FILE", help="write the picture with what was seen; for one picture")
    add("--confidence", type=share, metavar="SCORE", help="leave out what is below")
    add("--iou", type=share, help="of two of a class that overlap by more, leave out the worse")
    add("--save", metavar="NPZ", help="write what the engine answered; for one picture")
    add("--outputs", metavar="NPZ", help="decode these in place of running the engine")
    options = parser.parse_args()
    if len(options.pictures) != 1 and (options.draw or options.save or options.outputs):
        parser.error("--draw, --save and --outputs are for one picture at a time")
    return options


if __name__ == "__main__":
    sys.exit(guarded(run, parse()))
