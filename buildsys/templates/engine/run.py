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
import sys
from typing import TYPE_CHECKING, Any

from looking import HERE, arguments, look_at_all, read_facts
from pictures import Failure, guarded, plain
from runtime import Engine, Refused, open_engine

if TYPE_CHECKING:
    import numpy as np


def run(options: argparse.Namespace) -> int:
    """Open the engine, or the file of its answers, and look."""
    facts = read_facts()
    if not options.pictures:
        return try_out(facts)
    if options.outputs:
        return look_at_all(facts, lambda batch: read_outputs(options.outputs), options)
    engine = open_here(facts)
    return look_at_all(facts, lambda batch: ask(engine, batch), options)


def open_here(facts: dict[str, Any]) -> Engine:
    """The engine of this folder. Raises Failure."""
    try:
        return open_engine(facts, HERE / facts["file"])
    except Refused as error:
        raise Failure(str(error), error.code) from error


def ask(engine: Engine, batch: np.ndarray) -> dict[str, np.ndarray]:
    """What the engine answers. Raises Failure."""
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
    """Outputs by name, of `--save` or of a program of your own. Raises Failure."""
    import numpy as np

    try:
        with np.load(path) as held:
            return {name: held[name] for name in held.files}
    except (OSError, ValueError, AttributeError) as error:
        raise Failure(f"{path}: is no file of outputs: {error}", 2) from error


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description="What the engine of this folder sees on pictures.")
    arguments(parser, "*")
    parser.add_argument("--outputs", metavar="NPZ", help="decode these, and run no engine")
    options = parser.parse_args()
    if len(options.pictures) != 1 and (options.draw or options.save or options.outputs):
        parser.error("--draw, --save and --outputs are for one picture at a time")
    return options


if __name__ == "__main__":
    sys.exit(guarded(run, parse()))
