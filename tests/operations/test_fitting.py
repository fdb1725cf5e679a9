"""`buildsys fit`: which sizes it tries, when it stops and what it prints, with a stand-in compiler."""

import json
import re
import shutil
from pathlib import Path

import pytest

from buildsys import cli
from buildsys.commands.fit import answer, render
from buildsys.errors import BuildsysError
from buildsys.execution.packages import fits
from buildsys.execution.places import Workspace
from buildsys.execution.running.process import Command, OnProgress
from buildsys.execution.session import build_planning
from buildsys.execution.session.build_planning import plan_build
from buildsys.execution.session.loading import make_plans
from buildsys.graph import BuildPlan, build_plans
from buildsys.operations import fit as fitting
from buildsys.operations.fit import plan_candidate
from buildsys.operations.predict import find_build
from buildsys.outcome import Kind
from buildsys.planning import fit_key
from buildsys.steps.lib.firmware.memory_estimate import estimate_size, interpolate_size
from tests.conftest import StandIn, no_environment
from tests.given_models import tflite_bytes
from tests.operations import golden

BUILD = "tags@grove-vision-ai-v2"
ARENA_KIB = 1110


class Compiler(StandIn):
    """Reports `per_pixel` bytes of arena per pixel plus `fixed`, in `memory`; the size is read from
    the export. `grows`: the file takes a byte more per pixel.
    """

    def __init__(
        self, per_pixel: float, fixed: int = 0, memory: str = "sram_bytes", grows: bool = False
    ) -> None:
        super().__init__()
        self.memory, self.grows = memory, grows
        self.per_pixel, self.fixed, self.pixels = per_pixel, fixed, 0
        self.sides: list[int] = []

    def __call__(self, command: Command, on_progress: OnProgress) -> int:
        module, request_path = command.arguments[-2:]
        params = json.loads(Path(request_path).read_text())["params"]
        if module == "export_ultralytics":
            frame = params["preprocessing"]
            self.pixels = frame["height"] * frame["width"]
            self.sides.append(max(frame["height"], frame["width"]))
        code = super().__call__(command, on_progress)
        if module == "compile_vela" and not code:
            outputs = json.loads(Path(request_path).read_text())["outputs"]
            figures = {"sram_bytes": 1024, "off_chip_flash_bytes": 1024}
            figures[self.memory] = round(self.pixels * self.per_pixel) + self.fixed
            Path(outputs["summary"]).write_text(json.dumps(figures))
            with Path(outputs["vela-tflite"]).open("ab") as file:
                file.write(bytes(self.pixels if self.grows else 0))
        return code


def set_size(workspace: Path, size: str) -> None:
    """Change the input size in the recipe."""
    recipe = workspace / "recipes" / "tags.yaml"
    recipe.write_text(re.sub(r"input: .*", f"input: {{size: {size}}}", recipe.read_text()))


def fit(workspace: Path, tools: StandIn, name: str = BUILD) -> fitting.Fit:
    """`buildsys fit` with stand-in tools."""
    place = Workspace(workspace)
    build = find_build(place, name)
    plan = plan_build(build, Workspace(workspace))
    return fitting.fit(place, build, plan, lambda text: None, tools, no_environment)


def told(workspace: Path, found: fitting.Fit) -> str:
    """The table and the answer, with seconds replaced."""
    text = render(found)
    seconds = re.sub(r"\d+$", "N", re.sub(r"(?m) +\d+$", "   N", text))
    return f"{seconds}\n{answer(find_build(Workspace(workspace), BUILD), found)}\n"


def test_three_compiles_prove_the_border(workspace: Path) -> None:
    """Three compiles suffice: the recipe's size, the size that the area predicts, and its
    neighbour.
    """
    set_size(workspace, "640")
    tools = Compiler(per_pixel=8)
    found = fit(workspace, tools)
    assert tools.sides == [640, 352, 384]
    assert (found.side, found.proven) == (352, True)
    golden.check("fit", told(workspace, found))
    assert "train_ultralytics" not in tools.ran


def test_what_a_build_has_found_is_not_compiled_again(workspace: Path) -> None:
    """The compile of the rejected build is reused."""
    from buildsys.execution.session.session import Session

    set_size(workspace, "640")
    tools = Compiler(per_pixel=8)
    session = Session(workspace, tools, no_environment)
    session.build([BUILD])
    session.close()
    assert session.publisher.outcomes[BUILD].kind == Kind.REJECTED
    tools.sides.clear()
    found = fit(workspace, tools)
    assert tools.sides == [352, 384]
    assert found.trials[-1].seconds is None
    golden.check("fit-known", told(workspace, found))


def test_an_arena_in_dram_is_fitted(workspace: Path) -> None:
    """With Dedicated_Sram, the arena in DRAM decides the size, not the cache in SRAM."""
    set_size(workspace, "640")
    found = fit(workspace, Compiler(per_pixel=8, memory="dram_bytes"))
    assert (found.side, found.proven) == (352, True)


def test_a_second_question_runs_nothing(workspace: Path) -> None:
    """A repeated `fit` runs nothing."""
    tools = Compiler(per_pixel=8)
    set_size(workspace, "640")
    first = fit(workspace, tools)
    tools.ran.clear()
    again = fit(workspace, tools)
    assert tools.ran == []
    assert [t.side for t in again.trials] == [t.side for t in first.trials]


def test_lost_bytes_are_made_again(workspace: Path, tmp_path: Path) -> None:
    """If the store was cleared, the compiles run again."""
    tools = Compiler(per_pixel=8)
    set_size(workspace, "640")
    first = fit(workspace, tools)
    shutil.rmtree(tmp_path / "store")
    assert fit(workspace, tools).side == first.side


def test_a_line_through_two_sizes_beats_the_area(workspace: Path) -> None:
    """If part of the need is fixed, the second guess uses a line through two sizes."""
    tools = Compiler(per_pixel=2, fixed=700 * 1024)
    set_size(workspace, "64")
    found = fit(workspace, tools)
    assert tools.sides == [64, 96, 448]
    assert (found.side, found.proven) == (448, False)
    golden.check("fit-unproven", told(workspace, found))


def test_a_small_recipe_learns_how_far_it_can_go(workspace: Path) -> None:
    """A recipe that fits gets the largest size that fits, without a hint to change it."""
    found = fit(workspace, Compiler(per_pixel=9))
    assert found.side is not None
    text = told(workspace, found)
    assert "Write" not in text
    golden.check("fit-larger", text)


def test_no_size_fits(
    workspace: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """If not even the smallest size fits, the message suggests a smaller network."""
    found = fit(workspace, Compiler(per_pixel=8, fixed=2000 * 1024))
    assert (found.side, found.proven) == (None, True)
    golden.check("fit-none", told(workspace, found))
    monkeypatch.setattr(fitting, "fit", lambda *_: found)
    assert cli.main(["-C", str(workspace), "fit", BUILD]) == 11
    assert "32 px does not fit" in capsys.readouterr().out


def test_a_file_that_trained_weights_may_make_small_enough_is_unsure(
    workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Random weights take up to a fifth more: within that, the arena decides and the answer says
    so. Advice of failed builds does not claim that the size fits.
    """
    set_size(workspace, "640")
    file_bytes = fit(workspace, Compiler(per_pixel=8)).trials[0].need.flash_bytes
    monkeypatch.setattr(fitting, "slot_bytes", lambda build: file_bytes - 1)
    found = fit(workspace, Compiler(per_pixel=8))
    assert (found.side, found.proven, found.file_unsure) == (352, True, True)
    golden.check("fit-unsure", told(workspace, found))
    key = build_planning.fit_key_of(find_build(Workspace(workspace), BUILD))
    assert fits.known_fit(Workspace(workspace), key) is None
    monkeypatch.setattr(fitting, "slot_bytes", lambda build: file_bytes * 4 // 5)
    assert fit(workspace, Compiler(per_pixel=8)).file_too_large


def test_a_smaller_size_that_fits_with_any_weights_is_advised(
    workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the largest size depends on the weights, the answer names the largest that does not,
    and advice of failed builds names that one.
    """
    set_size(workspace, "320")
    monkeypatch.setattr(fitting, "slot_bytes", lambda build: 110_000)
    found = fit(workspace, Compiler(per_pixel=8, grows=True))
    assert (found.side, found.file_unsure, found.sure_side) == (352, True, 320)
    golden.check("fit-unsure-and-sure", told(workspace, found))
    key = build_planning.fit_key_of(find_build(Workspace(workspace), BUILD))
    assert fits.known_fit(Workspace(workspace), key) == 320


def test_a_file_that_is_larger_than_its_slot_needs_no_second_compile(
    workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file that exceeds its slot needs no second compile: weights do not depend on the input
    size.
    """
    monkeypatch.setattr(fitting, "slot_bytes", lambda build: 10)
    tools = Compiler(per_pixel=1)
    found = fit(workspace, tools)
    assert len(tools.sides) == 1
    golden.check("fit-slot", told(workspace, found))


def test_a_frame_keeps_its_proportion(workspace: Path) -> None:
    """A rectangular size keeps its proportion in multiples of 32: half of 480 x 640 is 256 x 320."""
    set_size(workspace, "[480, 640]")
    text = (workspace / "recipes/tags.yaml").read_text()
    text = text.replace("  - xiao-esp32s3\n", "").replace(
        "- grove-vision-ai-v2", "- {target: grove-vision-ai-v2, firmware: targets/wide.yaml}"
    )
    (workspace / "recipes/tags.yaml").write_text(text)
    contract = (planner_targets() / "firmware/sscma-1.0-pose.yaml").read_text()
    contract = contract.replace("name: sscma-1.0-pose", "name: wide")
    contract = contract.replace("input: {dtype", "input: {square: false, dtype")
    (workspace / "targets").mkdir()
    (workspace / "targets/wide.yaml").write_text(contract)
    found = fit(workspace, Compiler(per_pixel=12))
    assert [trial.frame for trial in found.trials][-1] == (480, 640)
    assert all(height % 32 == width % 32 == 0 for height, width in (t.frame for t in found.trials))
    golden.check("fit-wide", told(workspace, found))


def planner_targets() -> Path:
    """The folder of the shipped targets."""
    from buildsys.registry import shipped_targets

    return shipped_targets()


def test_a_candidate_is_the_same_network_without_its_data(workspace: Path) -> None:
    """A candidate has the recipe's classes and keypoints, which determine its memory."""
    shutil.rmtree(workspace / "tags" / "images")
    for split in ("train", "val"):
        (workspace / "tags" / "images" / split).mkdir(parents=True)
        (workspace / "tags" / "images" / split / "0.jpg").touch()  # not opened by any step
    (workspace / "start.bin").unlink()
    place = Workspace(workspace)
    plan = plan_candidate(place, find_build(place, BUILD), 96)
    params = {step.module: json.loads(step.params) for step in plan.steps}
    assert params["initialize_ultralytics"]["classes"] == ["tag"]
    assert params["initialize_ultralytics"]["keypoints"] == 4
    assert params["prepare_pictures"]["preprocessing"]["height"] == 96
    assert plan.steps[-1].module == "compile_vela"
    given = [item.source.label for s in plan.steps for item in s.inputs if item.source]
    assert set(given) == {".buildsys/fit/noise.bmp", "vela/himax.ini"}


def test_a_step_that_fails_is_reported_once(
    workspace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A failing step is reported once, with the size."""
    tools = Compiler(per_pixel=1)
    tools.fail.add("compile_vela")
    with pytest.raises(BuildsysError, match="could not be built at 64 px; see the error abov"):
        fit(workspace, tools)
    assert capsys.readouterr().err.count("compile_vela ran") == 1


def test_what_cannot_be_fitted_says_why(
    workspace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """`fit` refuses contracts without an arena, fixed sizes, several builds and unknown names."""
    recipe = workspace / "recipes" / "tags.yaml"
    text = recipe.read_text().replace("  - xiao-esp32s3\n", "  - host\n")
    recipe.write_text(text)
    (workspace / "given.tflite").write_bytes(tflite_bytes())
    (workspace / "recipes" / "given.yaml").write_text(
        "name: given\nsource: {family: tflite, weights: {path: given.tflite}}\n"
        "evaluate: none\nfirmware: unchecked\ntargets: [xiao-esp32s3]\n"
    )
    for name in ("tags@host", "given@xiao-esp32s3", "tags@*", "tags@grove"):
        assert cli.main(["-C", str(workspace), "fit", name]) == 2
    golden.check("fit-cannot", capsys.readouterr().err)


def find_plan(place: Workspace) -> BuildPlan:
    """The current plan of the only build."""
    return next(plan for plan in build_plans(make_plans(place).plans) if plan.build == BUILD)


def test_a_failing_build_can_name_the_size(workspace: Path) -> None:
    """A failing build's message names the size if a build with the same network is known."""
    set_size(workspace, "640")
    place = Workspace(workspace)
    plan = find_plan(place)
    assert fits.known_fit(place, plan.fit) is None
    need, has = 3208 << 10, ARENA_KIB << 10
    before = fits.advise(place, plan, 640, need, has)
    assert before == f"352 px may fit, by an estimate; `buildsys fit {BUILD}` finds out"
    fit(workspace, Compiler(per_pixel=8.4))
    recipe = workspace / "recipes" / "tags.yaml"
    recipe.write_text(recipe.read_text().replace("epochs: 2", "epochs: 3"))
    set_size(workspace, "384")
    alike = find_plan(place)
    assert fits.known_fit(place, alike.fit) == 352
    assert fits.advise(place, alike, 384, need, has) == f"352 px fits (by `buildsys fit {BUILD}`)"
    recipe.write_text(recipe.read_text().replace("per-tensor", "per-channel"))
    assert fits.known_fit(place, find_plan(place).fit) is None
    recipe.write_text(recipe.read_text().replace("per-channel", "per-tensor"))
    (workspace / ".buildsys" / "fit.json").write_text("{ half")
    assert fits.known_fit(place, alike.fit) is None


def test_a_size_that_is_no_longer_known_to_fit_is_not_advised(
    workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A failing build's message names no size that fitted by another rule, such as Vela's SRAM where
    the arena is in DRAM, nor one that is not smaller than the build's.
    """
    place = Workspace(workspace)
    with monkeypatch.context() as patch:
        patch.setattr(fit_key, "_VELA_NEED", "SRAM")
        fit(workspace, Compiler(per_pixel=8.4))
        known = find_plan(place)
        assert fits.known_fit(place, known.fit) == 352
        for side in (320, 352):
            assert "by an estimate" in fits.advise(place, known, side, 3000 << 10, 1000 << 10)
    assert fits.known_fit(place, find_plan(place).fit) is None


def test_the_laws() -> None:
    """The predicted sizes are rounded down to multiples of 32."""
    assert estimate_size(640, 3207, 1110) == 352
    assert estimate_size(64, 100, 1) == 0
    assert estimate_size(64, 0, 100) == 0
    assert interpolate_size(((64, 64.0**2), (128, 128.0**2)), 100.0**2) == 96
    assert interpolate_size(((64, 5.0), (128, 5.0)), 9.0) is None
