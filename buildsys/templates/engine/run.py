"""Detect objects in images with this folder's engine: print them, also as JSON, and draw them.

    python run.py photo.jpg --draw detections.jpg
    python run.py

Without an image the engine is loaded and run once on zeros. `--save` writes the outputs, and `--outputs`
decodes such a file instead of running the engine, on a machine without a GPU. Exit codes: 0 done, 2 an
image or an option is wrong, 3 the engine cannot be used on this machine, 4 a Python package or a library
is missing. It has not been run with an engine yet; decoding is tested.
"""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING, Any

from looking import HERE, arguments, look_at_all, read_facts
from pictures import Failure, guarded, plain
from runtime import Engine, Refused, open_engine

if TYPE_CHECKING:
    import numpy as np


def run(options: argparse.Namespace) -> int:
    """Open the engine, or the file of its outputs, and process the images."""
    facts = read_facts()
    if not options.pictures:
        return try_out(facts)
    if options.outputs:
        return look_at_all(facts, lambda batch: read_outputs(options.outputs), options)
    engine = open_here(facts)
    return look_at_all(facts, lambda batch: ask(engine, batch), options)


def open_here(facts: dict[str, Any]) -> Engine:
    """Open this folder's engine. Raises Failure."""
    try:
        return open_engine(facts, HERE / facts["file"])
    except Refused as error:
        raise Failure(str(error), error.code) from error


def ask(engine: Engine, batch: np.ndarray) -> dict[str, np.ndarray]:
    """Return the engine's outputs. Raises Failure."""
    try:
        outputs: dict[str, np.ndarray] = engine.infer(batch)
        return outputs
    except Refused as error:
        raise Failure(str(error), error.code) from error


def try_out(facts: dict[str, Any]) -> int:
    """Load, run on zeros, and print the ranges of the outputs."""
    engine = open_here(facts)
    import numpy as np

    batch = np.zeros((engine.batch[0], *engine.shape[1:]), np.float32)
    for name, values in ask(engine, batch).items():
        print(f"{plain(name)}: {values.shape}, {values.min():g} to {values.max():g}")
    return 0


def read_outputs(path: str) -> dict[str, np.ndarray]:
    """Read outputs by name, from `--save` or a program of your own. Raises Failure."""
    import numpy as np

    try:
        with np.load(path) as held:
            return {name: held[name] for name in held.files}
    except (OSError, ValueError, AttributeError) as error:
        raise Failure(f"{path}: not a file of outputs: {error}", 2) from error


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description="Detect objects in images with this folder's engine."
    )
    arguments(parser, "*")
    parser.add_argument(
        "--outputs", metavar="NPZ", help="decode these outputs without running the engine"
    )
    options = parser.parse_args()
    if len(options.pictures) != 1 and (options.draw or options.save or options.outputs):
        parser.error("--draw, --save and --outputs need exactly one image")
    return options


if __name__ == "__main__":
    sys.exit(guarded(run, parse()))
