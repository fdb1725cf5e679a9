"""A build at another input size, for its memory alone: random weights, one picture of noise.

What a network needs depends on its shape. So nothing is trained, no data is needed, and the
build's own steps run up to the one that tells the need.
"""

import dataclasses
import random
import struct
from dataclasses import dataclass
from pathlib import Path

from buildsys.authoring.datasets.facts import DatasetFacts
from buildsys.authoring.recipes.build import Build
from buildsys.authoring.recipes.families import network
from buildsys.authoring.recipes.model import known_model
from buildsys.authoring.recipes.recipe import Calibration, Evaluate, Weights
from buildsys.errors import BuildsysError, Diagnostic, InputError
from buildsys.execution.places import Workspace
from buildsys.execution.session.build_plans import host_of
from buildsys.execution.state.plans import complete
from buildsys.graph import Plan, Step
from buildsys.planning import planner
from buildsys.steps.fit_memory import ALLOCATOR_BYTES
from buildsys.steps.lib.firmware.memory_estimate import GRID

_PICTURE = ".buildsys/fit/noise.bmp"
_PICTURE_SIDE = 64


@dataclass(frozen=True, kw_only=True)
class MemoryProbe:
    """Where a plan tells its need: the step, its output with the figure in bytes, and the name of
    its key; the file whose size the flash has to hold, as (step, output).
    """

    step: str
    output: str
    key: str
    file: tuple[str, str]
    extra_bytes: float = 0.0


def find_memory_probe(plan: Plan) -> MemoryProbe | None:
    """The step that tells how much arena the model takes; None where none of a plan's does.

    Vela says what it planned; without it TFLite Micro says what it took, where a step asks it.
    """
    for step in reversed(plan.steps):
        outputs = {output.name for output in step.outputs}
        if "summary" in outputs:
            return MemoryProbe(
                step=step.id,
                output="summary",
                key="sram_bytes",
                file=(step.id, "vela-tflite"),
                extra_bytes=ALLOCATOR_BYTES,
            )
    for step in plan.steps:
        model = next((item for item in step.inputs if item.name == "tflite" and item.step), None)
        if model is not None and any(output.name == "arena" for output in step.outputs):
            return MemoryProbe(
                step=step.id, output="arena", key="arena_bytes", file=(model.step, model.output)
            )
    return None


def check_fittable(build: Build) -> None:
    """Raises InputError where a build's size cannot be chosen."""
    source = build.recipe.source
    if network(source.family) is None:
        message = f"a source of family {source.family} has its input size in the file"
        hint = "only a network that is exported here can be tried at other sizes"
        raise InputError(Diagnostic(path=build.id, message=message, hint=hint))
    if build.recipe.input is None or known_model(build) is None or not architecture(build):
        message = "nobody said which network this is and what its input and outputs are"
        hint = "write `source.architecture` and `input`, and bring the data or the weights"
        raise InputError(Diagnostic(path=build.id, message=message, hint=hint))


def architecture(build: Build) -> str:
    """The network's name, by the recipe or by its checkpoint; empty where neither says it."""
    found = build.checkpoint
    return build.recipe.source.architecture or (found.architecture if found else "")


def frame_of(build: Build, side: int) -> tuple[int, int]:
    """Height and width whose larger one is `side`, in the recipe's proportion, on the grid."""
    assert build.recipe.input is not None
    height, width = build.recipe.input.size
    small = max(GRID, round(side * min(height, width) / max(height, width) / GRID) * GRID)
    return (side, small) if height >= width else (small, side)


def plan_candidate(workspace: Workspace, build: Build, side: int) -> Plan:
    """The steps that tell a size's need. Raises BuildsysError where none of them does."""
    _write_picture(workspace.root / _PICTURE)
    changed = _change(build, side)
    plan = planner.plan(changed, str(workspace.root), host_of(changed))
    probe = find_memory_probe(plan)
    if probe is None:
        raise BuildsysError(
            f"{build.id}: how much arena a model takes on {build.target.label} cannot be told here:"
            " its pipeline has no compiler that plans memory, and no step runs TFLite Micro"
        )
    return complete(
        dataclasses.replace(
            plan,
            build=f"{build.id} at {side} px",
            steps=_needed(plan.steps, probe.step),
            package=probe.step,
            shipped=None,
            verdicts=(),
            facts=(),
        )
    )


def _change(build: Build, side: int) -> Build:
    """The same network of the same classes and keypoints, untrained, at another size."""
    recipe, known = build.recipe, known_model(build)
    assert recipe.input is not None
    facts = DatasetFacts(
        root="",
        names=known.names,
        keypoints=known.keypoints,
        keypoint_dims=known.keypoint_dims,
        sigmas=(),
        splits=(),
    )
    weights = {"weights": Weights(random=True), "architecture": architecture(build)}
    calibration = {"calibration": Calibration(images=_PICTURE, count=1)}
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


def _needed(steps: tuple[Step, ...], last: str) -> tuple[Step, ...]:
    """The steps that one rests on, and itself, in order."""
    wanted = {last}
    for step in reversed(steps):
        if step.id in wanted:
            wanted |= {item.step for item in step.inputs}
    return tuple(step for step in steps if step.id in wanted)


def _write_picture(path: Path) -> None:
    """Seeded noise between black and white as a bitmap: the same bytes everywhere, written once.

    The plain bands keep 0 and 255 in the picture however it is scaled: firmwares want an input
    that is quantized by 1/255.
    """
    from buildsys.files import writing

    side, pixels = _PICTURE_SIDE, _PICTURE_SIDE**2 * 3
    band = bytes(pixels // 4)
    noise = random.Random(0).randbytes(pixels - 2 * len(band))
    header = struct.pack("<2sIHHI", b"BM", 54 + pixels, 0, 0, 54)
    header += struct.pack("<IiiHHIIiiII", 40, side, side, 1, 24, 0, pixels, 2835, 2835, 0, 0)
    content = header + band + noise + b"\xff" * len(band)
    if path.is_file() and path.read_bytes() == content:
        return
    with writing("a picture of noise", path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
