"""`buildsys fit`: finds the largest input size that fits into the target's memory.

It compiles a few sizes. The first is estimated from a known need (memory grows with the area), the
next ones from the measured needs, until one of two neighbouring sizes fits and the other does not,
or three compiles are used.

The need depends only on the network's shape, so a candidate has random weights and one image of
noise: no training, no data, and only the steps of the build up to the one that reports the need.
"""

import dataclasses
import os
import random
import struct
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from buildsys.authoring.datasets.facts import DatasetFacts
from buildsys.authoring.recipes.build import Build
from buildsys.authoring.recipes.families import network
from buildsys.authoring.recipes.model import known_model, strides
from buildsys.authoring.recipes.recipe import LARGEST_SIDE, Calibration, Evaluate, Weights
from buildsys.errors import BuildsysError, InputError, Rejected
from buildsys.execution.packages import fits
from buildsys.execution.places import Workspace
from buildsys.execution.running.process import CommandRunner, run_command
from buildsys.execution.running.runner import EnsureEnv
from buildsys.execution.session.build_planning import fit_key_of, host_of
from buildsys.execution.session.session import Session
from buildsys.execution.state.completed_plans import complete
from buildsys.execution.state.plans import Plans
from buildsys.execution.state.step_outputs import read_figure, read_object, read_verdict
from buildsys.execution.tools.environments import ensure as ensure_env
from buildsys.graph import BuildPlan, Step
from buildsys.planning import planner
from buildsys.planning.fit_key import architecture, arena_bytes, slot_bytes
from buildsys.spec import GRID, Format
from buildsys.steps.fit_memory import ALLOCATOR_BYTES
from buildsys.steps.lib.firmware.memory_estimate import estimate_size, interpolate_size
from buildsys.steps.lib.firmware.planned_arena import planned_arena
from buildsys.text import join_sentences

MOST_COMPILES = 3
_TRAINED = 5 / 6
"""The least size of a trained network's file of Vela, as a part of that with random weights."""
_NOISE = ".buildsys/fit/noise.bmp"
_NOISE_SIDE = 64


@dataclass(frozen=True, kw_only=True)
class Need:
    """Memory that a model takes in bytes: tensors in the arena, the file in the flash.

    `least_flash_bytes`: what the trained network's file takes at least. Vela packs random weights
    worse than trained ones (fiducial-pose at 192 px: 0.8 KiB of 293 in the arena, and 17 % of the
    file).
    """

    arena_bytes: int
    flash_bytes: int
    least_flash_bytes: int


@dataclass(frozen=True, kw_only=True)
class Room:
    """Available memory in bytes; `slot_bytes` None where the firmware's contract has no slot."""

    arena_bytes: int
    slot_bytes: int | None

    def holds(self, need: Need) -> bool:
        """Return whether the arena fits, and the trained network's file can fit."""
        return need.arena_bytes <= self.arena_bytes and self._can_flash(need.least_flash_bytes)

    def never_flashes(self, need: Need) -> bool:
        """Return whether the file does not fit, whatever the weights."""
        return not self._can_flash(need.least_flash_bytes)

    def may_flash(self, need: Need) -> bool:
        """Return whether the weights decide if the file fits."""
        return not self.never_flashes(need) and not self._can_flash(need.flash_bytes)

    def _can_flash(self, count: int) -> bool:
        return self.slot_bytes is None or count <= self.slot_bytes


@dataclass(frozen=True, kw_only=True)
class Trial:
    """One size: the larger side in pixels, its frame (height, width), its need, the verdict.

    `seconds` is None for a need that an earlier build measured.
    """

    side: int
    frame: tuple[int, int]
    need: Need
    fits: bool
    seconds: float | None


@dataclass(frozen=True, kw_only=True)
class Fit:
    """The result: the largest side that fits, or None.

    `proven` if the next size was tried and does not. `trials` by side; `file_too_large`: the file
    alone is too large, at any size. `sure_side`: the largest side that fits whatever the weights; a
    larger `side` fits the arena, and the flash only if trained weights make the file smaller.
    """

    side: int | None
    sure_side: int | None
    proven: bool
    file_too_large: bool
    room: Room
    trials: tuple[Trial, ...]

    @property
    def file_unsure(self) -> bool:
        """Return whether the weights decide if the file of the largest side fits."""
        return self.side != self.sure_side


@dataclass(frozen=True, kw_only=True)
class MemoryProbe:
    """Where a plan reports its need: the step, and the output with the figures, `summary` of Vela
    or `arena` of TFLite Micro.

    Also the file whose size the flash must hold, as (step, output).
    """

    step: str
    output: str
    file: tuple[str, str]


def fit(
    workspace: Workspace,
    build: Build,
    plan: BuildPlan | None,
    print_line: Callable[[str], None],
    run: CommandRunner = run_command,
    ensure: EnsureEnv = ensure_env,
) -> Fit:
    """Find the largest size, and record it for builds that fail.

    `plan`: the build's own, for its known need. Raises BuildsysError: InputError where the size
    cannot be chosen, StepFailed.
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
        print_line(f"compile {spent} of at most {MOST_COMPILES}: {side} px")
        trials = (*trials, _try(workspace, build, side, room, run, ensure))
    found = conclude(trials, room)
    rows = [asdict(trial) for trial in found.trials]
    fit = fits.Fit(build=build.id, side=found.sure_side, proven=found.proven, tried=rows)
    fits.record_fit(workspace, fit_key_of(build), fit)
    return found


def find_room(build: Build) -> Room:
    """Return the firmware's available memory. Raises InputError."""
    arena = arena_bytes(build)
    if arena is None:
        firmware = build.contract.name if build.contract else "unchecked"
        message = (
            f"firmware {firmware} does not declare the size of its arena, so nothing can be fitted"
        )
        hint = "name a firmware whose contract has `arena_kib`, or write your own contract"
        raise InputError.at(build.id, message, hint)
    return Room(arena_bytes=arena, slot_bytes=slot_bytes(build))


def next_side(trials: tuple[Trial, ...], own: int, room: Room) -> int | None:
    """Return the size to try next; None when the result is known.

    `own`: the recipe's, the first try.
    """
    if not trials:
        return own
    low = max((trial.side for trial in trials if trial.fits), default=0)
    bad = [trial for trial in trials if not trial.fits]
    high = min((trial.side for trial in bad), default=LARGEST_SIDE + GRID)
    if high - low <= GRID or any(room.never_flashes(trial.need) for trial in bad):
        return None
    return min(max(_guess(trials, room), low + GRID), high - GRID)


def _guess(trials: tuple[Trial, ...], room: Room) -> int:
    """Estimate the largest size: by a line through the two sizes nearest to the limit, or by the
    area.
    """
    near = sorted(trials, key=lambda trial: abs(trial.need.arena_bytes - room.arena_bytes))
    first, *others = [(trial.side, float(trial.need.arena_bytes)) for trial in near]
    line = interpolate_size((first, others[0]), room.arena_bytes) if others else None
    return line if line is not None else estimate_size(*first, room.arena_bytes)


def conclude(trials: tuple[Trial, ...], room: Room) -> Fit:
    """Return the result of the trials."""
    ordered = tuple(sorted(trials, key=lambda trial: trial.side))
    fitting = [trial for trial in ordered if trial.fits]
    side = max((trial.side for trial in fitting), default=None)
    sure = [trial.side for trial in fitting if not room.may_flash(trial.need)]
    over = side + GRID if side is not None else GRID
    proven = any(trial.side == over and not trial.fits for trial in ordered)
    return Fit(
        side=side,
        sure_side=max(sure, default=None),
        proven=proven,
        file_too_large=side is None and any(room.never_flashes(trial.need) for trial in ordered),
        room=room,
        trials=ordered,
    )


def known_trials(
    workspace: Workspace, build: Build, plan: BuildPlan | None, room: Room
) -> tuple[Trial, ...]:
    """Return the trial of the build's own size, if an earlier run compiled it; its verdict may be
    red.
    """
    probe = find_memory_probe(plan) if plan is not None else None
    if plan is None or probe is None or build.recipe.input is None:
        return ()
    session = Session(workspace.root, plans=Plans.of((plan,)))
    try:
        need = _read_need(plan, session, packed=1)
    except (BuildsysError, OSError):
        return ()  # a source is missing, or the store was cleared: the size is compiled again
    finally:
        session.close()
    frame = build.recipe.input.size
    return (Trial(side=max(frame), frame=frame, need=need, fits=room.holds(need), seconds=None),)


def measure_need(plan: BuildPlan, session: Session) -> Need:
    """Run a candidate's steps up to the one that reports its need. Raises BuildsysError."""
    session.prepare([plan.build])

    def measure() -> Need:
        for step in plan.steps:
            session.executor.run_step(step)
            _refuse_red(plan, step, session)
        return _read_need(plan, session, packed=_TRAINED)

    return session.executor.retry_with_bytes(measure)


def _refuse_red(plan: BuildPlan, step: Step, session: Session) -> None:
    """Raise Rejected for a red verdict: what it rejects is not compiled, so its need is unknown."""
    result = session.state.result(step.id)
    if result is None or result.passed:
        return
    verdict = read_verdict(session.state.read(step.id, Format.VERDICT), step.stage)
    why = join_sentences(verdict.failures)
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
        message = f"{build.id} could not be built at {side} px; see the error above"
        raise BuildsysError(message) from error
    finally:
        session.close()
    seconds = round(time.monotonic() - started, 1)
    frame = frame_of(build, side)
    return Trial(side=side, frame=frame, need=need, fits=room.holds(need), seconds=seconds)


def _read_need(plan: BuildPlan, session: Session, packed: float) -> Need:
    """Return the need from recorded results.

    `packed`: the least part of a file of Vela that the trained network's file takes. Raises
    MissingBytes, StepFailed.
    """
    probe, state = find_memory_probe(plan), session.state
    assert probe is not None
    stage, text = state.steps[probe.step].stage, state.read(probe.step, probe.output)
    model = state.read(*probe.file)
    if probe.output == "arena":
        arena = round(read_figure(text, "arena_bytes", stage, probe.output))
        least = len(model)  # TFLite files do not pack weights
    else:
        arena = planned_arena(_vela_figures(text, stage), model) + ALLOCATOR_BYTES
        least = round(len(model) * packed)
    return Need(arena_bytes=arena, flash_bytes=len(model), least_flash_bytes=least)


def _vela_figures(text: bytes, stage: str) -> dict[str, float]:
    """Return the numbers of Vela's summary. Raises StepFailed without `sram_bytes`."""
    figures = read_object(text, stage, "summary")
    numbers = {name: value for name, value in figures.items() if isinstance(value, int | float)}
    return numbers | {"sram_bytes": read_figure(text, "sram_bytes", stage, "summary")}


def find_memory_probe(plan: BuildPlan) -> MemoryProbe | None:
    """Return the step that reports the model's arena; None if no step of the plan does.

    Vela reports the planned size; without Vela, TFLite Micro reports the used size, where a step
    runs it.
    """
    for step in reversed(plan.steps):
        outputs = {output.name for output in step.outputs}
        if "summary" in outputs:
            return MemoryProbe(step=step.id, output="summary", file=(step.id, "vela-tflite"))
    for step in plan.steps:
        model = next((item for item in step.inputs if item.name == "tflite" and item.step), None)
        if model is not None and any(output.name == "arena" for output in step.outputs):
            return MemoryProbe(step=step.id, output="arena", file=(model.step, model.output))
    return None


def check_fittable(build: Build) -> None:
    """Raise InputError where a build's size cannot be chosen."""
    source = build.recipe.source
    if network(source.family) is None:
        message = f"a source of family {source.family} has its input size in the file"
        hint = "only a network that buildsys exports can have other sizes"
        raise InputError.at(build.id, message, hint)
    if build.recipe.input is None or known_model(build) is None or not architecture(build):
        message = "the recipe does not describe the network, its input and its outputs"
        hint = "write `source.architecture` and `input`, and provide the data or the weights"
        raise InputError.at(build.id, message, hint)
    if max(strides(build)) != GRID:
        message = (
            f"its sizes are multiples of {max(strides(build))}; sizes are tried in steps of {GRID}"
        )
        raise InputError.at(build.id, message, "use an architecture without p6")


def frame_of(build: Build, side: int) -> tuple[int, int]:
    """Return height and width on the grid, the larger one `side`, in the recipe's proportion."""
    assert build.recipe.input is not None
    height, width = build.recipe.input.size
    small = max(GRID, round(side * min(height, width) / max(height, width) / GRID) * GRID)
    return (side, small) if height >= width else (small, side)


def plan_candidate(workspace: Workspace, build: Build, side: int) -> BuildPlan:
    """Return the steps up to the one that reports a size's need.

    Raises BuildsysError without one.
    """
    _write_noise(workspace.own(workspace.root / _NOISE))
    changed = _change(build, side)
    plan = planner.plan(changed, str(workspace.root), host_of(changed))
    probe = find_memory_probe(plan)
    if probe is None:
        raise BuildsysError(
            f"{build.id}: the arena that a model needs on {build.target.label} cannot be determined:"
            " its pipeline has no compiler that plans memory, and no step runs TFLite Micro"
        )
    return complete(
        dataclasses.replace(
            plan,
            build=f"{build.id} at {side} px",
            steps=_steps_up_to(plan.steps, probe.step),
            package=probe.step,
            shipped=None,
            verdicts=(),
            facts=(),
        )
    )


def _change(build: Build, side: int) -> Build:
    """Return the build with an untrained network of the same classes and keypoints at another
    size.
    """
    recipe, known = build.recipe, known_model(build)
    assert recipe.input is not None
    assert known is not None
    facts = DatasetFacts(
        root="",
        names=known.names,
        keypoints=known.keypoints,
        keypoint_dims=known.keypoint_dims,
        sigmas=(),
        splits=(),
    )
    weights = {"weights": Weights(random=True), "architecture": architecture(build)}
    calibration = {"calibration": Calibration(images=_NOISE, count=1)}
    changed = recipe.model_copy(
        update={
            "source": recipe.source.model_copy(update=weights),
            "dataset": None,
            "train": None,
            "input": recipe.input.model_copy(update={"size": frame_of(build, side)}),
            "quantization": recipe.quantization.model_copy(update=calibration),
            "evaluate": Evaluate(measure=False),
        }
    )
    return dataclasses.replace(
        build,
        recipe=changed,
        train=None,
        dataset=facts,
        dataset_parts=(),
        split=None,
        checkpoint=None,
        archive=None,
        waiting_for="",
        facts=(),
    )


def _steps_up_to(steps: tuple[Step, ...], last: str) -> tuple[Step, ...]:
    """Return a step and the steps that it depends on, in order."""
    wanted = {last}
    for step in reversed(steps):
        if step.id in wanted:
            wanted |= {item.step for item in step.inputs}
    return tuple(step for step in steps if step.id in wanted)


def _write_noise(path: Path) -> None:
    """Write seeded noise between black and white as a bitmap: the same bytes everywhere.

    The plain bands keep 0 and 255 in the image at any scale: firmwares expect an input quantized by
    1/255.
    """
    from buildsys.write_errors import writing

    side, pixels = _NOISE_SIDE, _NOISE_SIDE**2 * 3
    band = bytes(pixels // 4)
    noise = random.Random(0).randbytes(pixels - 2 * len(band))
    header = struct.pack("<2sIHHI", b"BM", 54 + pixels, 0, 0, 54)
    header += struct.pack("<IiiHHIIiiII", 40, side, side, 1, 24, 0, pixels, 2835, 2835, 0, 0)
    content = header + band + noise + b"\xff" * len(band)
    if os.path.isfile(path) and path.read_bytes() == content:
        return
    with writing("an image of noise", path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
