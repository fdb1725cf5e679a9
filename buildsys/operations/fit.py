"""`buildsys fit`: the largest input size that the target's memory holds, by a few real compiles.

The first size is guessed from the need that is known (memory goes with the area), the next ones
from what was found, until two neighbours are known of which one fits and one does not, or three
compiles are spent.
"""

import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

from buildsys.authoring.recipes.build import Build
from buildsys.authoring.recipes.recipe import LARGEST_SIDE
from buildsys.errors import BuildsysError, Diagnostic, InputError, Rejected
from buildsys.execution.packages import fits
from buildsys.execution.places import Workspace
from buildsys.execution.running.process import CommandRunner, run_command
from buildsys.execution.running.runner import EnsureEnv
from buildsys.execution.session.build_plans import fit_key_of
from buildsys.execution.session.session import Session
from buildsys.execution.state.plans import Plans
from buildsys.execution.tools.environments import ensure as ensure_env
from buildsys.graph import Plan, Step
from buildsys.operations.fit_candidates import (
    check_fittable,
    find_memory_probe,
    frame_of,
    plan_candidate,
)
from buildsys.planning.fit_key import arena_bytes, slot_bytes
from buildsys.steps.lib.firmware.memory_estimate import GRID, estimate_size, interpolate_size

MOST_COMPILES = 3


@dataclass(frozen=True, kw_only=True)
class Need:
    """Memory that a model takes, bytes: tensors in the arena, the file in the flash.

    Both are at random weights, which Vela packs worse than trained ones: a little more than the
    trained network takes (fiducial-pose at 192 px: 0.8 KiB of 293, and 17 % of the file).
    """

    arena_bytes: int
    flash_bytes: int


@dataclass(frozen=True, kw_only=True)
class Room:
    """Memory that there is, bytes; `slot_bytes` None where the firmware's contract names no slot."""

    arena_bytes: int
    slot_bytes: int | None

    def holds(self, need: Need) -> bool:
        """Whether both fit."""
        return need.arena_bytes <= self.arena_bytes and self.flash_holds(need)

    def flash_holds(self, need: Need) -> bool:
        """Whether the file fits."""
        return self.slot_bytes is None or need.flash_bytes <= self.slot_bytes


@dataclass(frozen=True, kw_only=True)
class Trial:
    """One size: the larger side in pixels, its frame (height, width), what it needs, the verdict.

    `seconds` is None for the need that an earlier build had found.
    """

    side: int
    frame: tuple[int, int]
    need: Need
    fits: bool
    seconds: float | None


@dataclass(frozen=True, kw_only=True)
class Fit:
    """The answer: the largest side that was seen to fit, or None; proven where its next was seen
    not to. `trials` by side; `file_too_large`: the file alone is too large, at any size.
    """

    side: int | None
    proven: bool
    file_too_large: bool
    room: Room
    trials: tuple[Trial, ...]


def fit(
    workspace: Workspace,
    build: Build,
    plan: Plan | None,
    say: Callable[[str], None],
    run: CommandRunner = run_command,
    ensure: EnsureEnv = ensure_env,
) -> Fit:
    """Find it, and keep it for builds that fail. `plan`: the build's own, for what is known of it.

    Raises BuildsysError: InputError where there is nothing to choose, StepFailed.
    """
    check_fittable(build)
    room = find_room(build)
    trials = known_trials(workspace, build, plan, room)
    spent = 0
    while spent < MOST_COMPILES:
        side = next_side(trials, max(build.recipe.input.size) if build.recipe.input else 0, room)
        if side is None:
            break
        spent += 1
        say(f"try {spent} of at most {MOST_COMPILES}: {side} px")
        trials = (*trials, _try(workspace, build, side, room, run, ensure))
    found = conclude(trials, room)
    rows = [asdict(trial) for trial in found.trials]
    fits.remember_fit(
        workspace,
        fit_key_of(build),
        build.id,
        {"side": found.side, "proven": found.proven, "tried": rows},
    )
    return found


def find_room(build: Build) -> Room:
    """What the firmware has. Raises InputError."""
    arena = arena_bytes(build)
    if arena is None:
        firmware = build.contract.name if build.contract else "unchecked"
        message = f"firmware {firmware} does not say how much arena it has: nothing to fit into"
        hint = "name a firmware whose contract has `arena_kib`, or write a contract of your own"
        raise InputError(Diagnostic(path=build.id, message=message, hint=hint))
    return Room(arena_bytes=arena, slot_bytes=slot_bytes(build))


def next_side(trials: tuple[Trial, ...], own: int, room: Room) -> int | None:
    """The size to try next; None where the answer is known. `own`: the recipe's, the first try."""
    if not trials:
        return own
    low = max((trial.side for trial in trials if trial.fits), default=0)
    bad = [trial for trial in trials if not trial.fits]
    high = min((trial.side for trial in bad), default=LARGEST_SIDE + GRID)
    if high - low <= GRID or any(not room.flash_holds(trial.need) for trial in bad):
        return None
    return min(max(_guess(trials, room), low + GRID), high - GRID)


def _guess(trials: tuple[Trial, ...], room: Room) -> int:
    """By a line through the two sizes nearest to the border, or by the area from the one."""
    near = sorted(trials, key=lambda trial: abs(trial.need.arena_bytes - room.arena_bytes))
    first, *others = [(trial.side, float(trial.need.arena_bytes)) for trial in near]
    line = interpolate_size((first, others[0]), room.arena_bytes) if others else None
    return line if line is not None else estimate_size(*first, room.arena_bytes)


def conclude(trials: tuple[Trial, ...], room: Room) -> Fit:
    """What the trials show."""
    ordered = tuple(sorted(trials, key=lambda trial: trial.side))
    side = max((trial.side for trial in ordered if trial.fits), default=None)
    over = side + GRID if side is not None else GRID
    proven = any(trial.side == over and not trial.fits for trial in ordered)
    file_too_large = side is None and any(not room.flash_holds(trial.need) for trial in ordered)
    return Fit(side=side, proven=proven, file_too_large=file_too_large, room=room, trials=ordered)


def known_trials(
    workspace: Workspace, build: Build, plan: Plan | None, room: Room
) -> tuple[Trial, ...]:
    """The build's own size, where an earlier run compiled it: its verdict may have been red."""
    probe = find_memory_probe(plan) if plan is not None else None
    if plan is None or probe is None or build.recipe.input is None:
        return ()
    session = Session(workspace.root, plans=Plans.of((plan,)))
    try:
        need = _read_need(plan, session)
    except (BuildsysError, OSError):
        return ()  # a source is not here, or the store was cleared: then it is compiled
    finally:
        session.close()
    if need is None:
        return ()
    frame = build.recipe.input.size
    return (Trial(side=max(frame), frame=frame, need=need, fits=room.holds(need), seconds=None),)


def measure_need(plan: Plan, session: Session) -> Need:
    """Run a plan's steps up to the one that tells. Raises BuildsysError."""
    session.prepare([plan.build])
    for step in plan.steps:
        session.executor.run_step(step)
        _refuse_red(plan, step, session)
    need = _read_need(plan, session)
    if need is None:
        for step in plan.steps[-2:]:
            session.state.want_bytes(step.id)  # known by digest alone
            session.executor.run_step(step)
        need = _read_need(plan, session)
    if need is None:
        raise BuildsysError("the store keeps losing what is put into it; look at its disk")
    return need


def _refuse_red(plan: Plan, step: Step, session: Session) -> None:
    """What a verdict rejects is not compiled: then there is no need to tell. Raises Rejected."""
    result = session.state.result(step.id)
    if result is None or result.passed:
        return
    verdict = session.state.store.read(dict(result.outputs)["verdict"])
    why = "; ".join(json.loads(verdict)["failures"])
    raise Rejected(f"{plan.build} is rejected by {step.stage} before its memory is known: {why}")


def _try(
    workspace: Workspace, build: Build, side: int, room: Room, run: CommandRunner, ensure: EnsureEnv
) -> Trial:
    plan = plan_candidate(workspace, build, side)
    session = Session(workspace.root, run, ensure, plans=Plans.of((plan,)))
    started = time.monotonic()
    try:
        need = measure_need(plan, session)
    except BuildsysError as error:
        if not session.executor.failures:
            raise
        message = f"{build.id} could not be made at {side} px; what failed is told above"
        raise BuildsysError(message) from error
    finally:
        session.close()
    seconds = round(time.monotonic() - started, 1)
    frame = frame_of(build, side)
    return Trial(side=side, frame=frame, need=need, fits=room.holds(need), seconds=seconds)


def _read_need(plan: Plan, session: Session) -> Need | None:
    """From a result that is known; None where it is not, or its bytes are gone."""
    probe, state = find_memory_probe(plan), session.state
    assert probe is not None
    found, made = state.result(probe.step), state.result(probe.file[0])
    if found is None or made is None:
        return None
    try:
        figures: dict[str, Any] = json.loads(state.store.read(dict(found.outputs)[probe.output]))
        size = state.store.blob(dict(made.outputs)[probe.file[1]]).stat().st_size
    except FileNotFoundError:
        return None
    return Need(arena_bytes=round(figures[probe.key] + probe.extra_bytes), flash_bytes=size)
