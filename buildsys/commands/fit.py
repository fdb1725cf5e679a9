"""buildsys fit: the largest input size that the target's memory holds, by a few real compiles."""

import argparse
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from buildsys.authoring.recipes.build import Build
    from buildsys.operations.fit import Fit, Room, Trial

_UNSURE = (
    "Its file has random weights, and is larger than its slot in flash; that of trained weights is up"
    " to a fifth smaller: build it to find out"
)


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments: the build to try."""
    parser.add_argument("build", metavar="BUILD", help="the id of one build")


def run(options: argparse.Namespace) -> int:
    """Print the sizes that were tried and the result; exit code 11 if no size fits."""
    from buildsys.errors import Rejected
    from buildsys.execution import signals
    from buildsys.execution.places import Workspace
    from buildsys.execution.session.build_planning import plan_build
    from buildsys.execution.session.workspace_lock import exclusive
    from buildsys.operations.fit import fit
    from buildsys.operations.predict import find_build

    workspace = Workspace(options.folder.resolve())
    build = find_build(workspace, options.build)
    plan = None if build.waiting_for else plan_build(build, workspace)
    signals.end_on_signals(lambda: None)
    with exclusive(workspace):
        found = fit(workspace, build, plan, lambda text: print(text, file=sys.stderr, flush=True))
    print(render(found))
    print(answer(build, found))
    return 0 if found.side is not None else Rejected.exit_code


def render(found: "Fit") -> str:
    """Format the table: KiB of both memories, used and available."""
    slot = found.room.slot_bytes
    header = (
        "size",
        f"arena KiB (of {_kib(found.room.arena_bytes)})",
        f"file KiB (of {_kib(slot)})" if slot else "file KiB",
        "fits",
        "seconds",
    )
    lines = [header, *(_cells(trial, found.room) for trial in found.trials)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(header))]
    return "\n".join(
        "  ".join(cell.rjust(width) for cell, width in zip(line, widths, strict=True))
        for line in lines
    )


def _cells(trial: "Trial", room: "Room") -> tuple[str, ...]:
    from buildsys.steps.lib.firmware.memory_limits import needed_kib

    return (
        _frame(trial.frame),
        str(needed_kib(trial.need.arena_bytes)),
        str(needed_kib(trial.need.flash_bytes)),
        _verdict(trial, room),
        "known" if trial.seconds is None else f"{trial.seconds:.0f}",
    )


def _verdict(trial: "Trial", room: "Room") -> str:
    if not trial.fits:
        return "no"
    return "unsure" if room.may_flash(trial.need) else "yes"


def answer(build: "Build", found: "Fit") -> str:
    """Return the result of the trials, and what to write into the recipe."""
    if found.file_too_large:
        return (
            f"{build.id}: no input size fits: the file alone is larger than its slot in flash;"
            " use a smaller network or int8"
        )
    if found.side is None:
        smallest = _frame(found.trials[0].frame)
        if found.proven:
            return f"{build.id}: {smallest} px does not fit; use a smaller network"
        return f"{build.id}: {smallest} px does not fit; smaller sizes were not tried"
    best = next(trial for trial in found.trials if trial.side == found.side)
    over = next((t for t in found.trials if t.side > found.side and not t.fits), None)
    text = f"{build.id}: {_frame(best.frame)} px fits"
    text += " into the arena" if found.file_unsure else ""
    if found.proven and over is not None:
        text += f", and {_frame(over.frame)} px does not: it is the largest"
    elif over is not None:
        text += f"; sizes between it and {_frame(over.frame)} px were not tried"
    else:
        text += "; larger sizes were not tried"
    own = build.recipe.input.size if build.recipe.input else best.frame
    if max(own) > found.side:
        wanted = best.frame[0] if best.frame[0] == best.frame[1] else list(best.frame)
        text += f". Write `input: {{size: {wanted}}}`"
    return f"{text}. {_unsure(found)}" if found.file_unsure else text


def _unsure(found: "Fit") -> str:
    """Return what an unsure file means, and the largest size without that doubt, if one was tried."""
    sure = next((trial for trial in found.trials if trial.side == found.sure_side), None)
    return f"{_UNSURE}; {_frame(sure.frame)} px fits with any weights" if sure else _UNSURE


def _frame(frame: tuple[int, int]) -> str:
    return str(frame[0]) if frame[0] == frame[1] else f"{frame[0]}x{frame[1]}"


def _kib(count: int) -> str:
    return str(count // 1024)
