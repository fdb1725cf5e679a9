"""buildsys predict: draw what the shipped file detects in images."""

import argparse
import os
import sys
from pathlib import Path

from buildsys.steps.lib.heads.thresholds import CONFIDENCE

_BEFORE = {
    "vela-tflite": "This ran the int8 TFLite file that Vela compiled; the arithmetic of the NPU itself"
    " was not run.",
    "engine": "This ran the ONNX file that the engine was built from; the engine itself was not run.",
}
"""Notes for files that only a device can run, by what ships."""


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments: one build, images, and where to draw."""
    parser.add_argument("build", metavar="BUILD", help="the build whose file to run")
    parser.add_argument("images", nargs="+", metavar="IMAGE", help="images, or folders of them")
    parser.add_argument(
        "--out",
        type=Path,
        metavar="DIR",
        help="the folder to write, where other files stay; default: build/.predictions/BUILD, where"
        " drawings of an earlier call are removed",
    )
    parser.add_argument(
        "--confidence",
        type=_share,
        default=CONFIDENCE,
        metavar="SCORE",
        help="omit objects below this confidence",
    )


def run(options: argparse.Namespace) -> int:
    """Draw, and print one line for each image; exit code 2 if an image cannot be read."""
    from buildsys.errors import BuildsysError
    from buildsys.execution import signals
    from buildsys.execution.places import Workspace
    from buildsys.execution.session.session import Session
    from buildsys.execution.session.workspace_lock import exclusive
    from buildsys.operations import predict
    from buildsys.operations.destinations import find_folder

    pictures = predict.find_images(options.images)
    workspace = Workspace(options.folder.resolve())
    prediction = predict.plan_prediction(workspace, options.build, pictures, options.confidence)
    own = workspace.own(workspace.build / ".predictions" / prediction.build.build)
    target = find_folder(options.out or own)
    session = Session(workspace.root, plans=prediction.plans)
    signals.end_on_signals(lambda: None)
    with exclusive(workspace):
        try:
            predict.check_built(session, prediction.build)
            found = predict.predict(session, prediction, target, replaces=target == own)
        except BuildsysError as error:
            if session.executor.failures:
                return error.exit_code  # the failed step has printed its error
            raise
        finally:
            session.close()
    for row in found.pictures:
        print(predict.describe(row))
    shipped = prediction.build.shipped
    if shipped is not None and shipped.name in _BEFORE:
        print(_BEFORE[shipped.name])
    print(f"drawn into {os.path.relpath(target)}")
    for each in found.unreadable:
        print(f"{each.picture}: error: {each.problem}", file=sys.stderr)
    return 2 if found.unreadable else 0


def _share(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"{text} is not a number from 0 to 1")
    return value
