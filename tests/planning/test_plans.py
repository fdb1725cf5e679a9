"""From recipes to steps: shared steps, where each source enters, what a plan tolerates."""

import json
from pathlib import Path

import pytest

from buildsys.graph import BuildPlan, WaitingPlan
from tests.authoring.sample_workspace import (
    GIVEN,
    ONNX,
    TAGS_SHA256,
    TFLITE,
    TRAINED,
    by_stage,
    plan_all,
    plan_good,
    write_recipe,
    write_target,
)
from tests.given_models import Edge, field, onnx_bytes, picture, tflite_bytes


def _stages(plan: BuildPlan) -> list[str]:
    return [step.stage for step in plan.steps]


def _shared(first: BuildPlan, second: BuildPlan) -> set[str]:
    """The stages that both builds share."""
    one, other = by_stage(first), by_stage(second)
    return {stage for stage in one.keys() & other.keys() if one[stage].id == other[stage].id}


_OF_A_BOUND_FILE = frozenset(
    {
        "contract",
        "bind",
        "record-tflite",
        "tflm",
        "parity",
        "operators",
        "fit",
        "package",
    }
)
"""Stages after the outputs were put into a firmware's order."""
_OF_A_COMPILED_FILE = frozenset({"compile", "load"})


def test_two_boards_share_all_but_the_last_steps(workspace: Path) -> None:
    """Two boards share all but the last steps."""
    write_recipe(workspace, "tags", TRAINED)
    plans = plan_good(workspace)
    grove, xiao = plans["tags@grove-vision-ai-v2"], plans["tags@xiao-esp32s3"]
    own = _OF_A_BOUND_FILE | {"drawings", "evaluate-tflite", "gate"}
    assert set(_stages(grove)) - _shared(grove, xiao) == own | _OF_A_COMPILED_FILE
    assert set(_stages(xiao)) - _shared(grove, xiao) == own


def test_the_manifest_lists_what_used_the_preprocessing(workspace: Path) -> None:
    """A given file is not trained, and without labels not measured."""
    write_recipe(workspace, "tags", TRAINED)
    write_recipe(workspace, "given", ONNX)
    plans = plan_good(workspace)
    used_by = {
        plan.recipe: json.loads(plan.preprocessing)["used_by"]
        for plan in plans.values()
        if plan.preprocessing
    }
    assert used_by["tags"] == ["training", "calibration", "evaluation"]
    assert used_by["given"] == ["calibration"]


def test_a_users_dataset_is_prepared_once_for_every_step(workspace: Path) -> None:
    """A user's dataset is prepared once for all steps; a generated one needs no preparation."""
    write_recipe(workspace, "tags", TRAINED)
    drawn = TRAINED.replace("{path: data/tags/data.yaml}", "{generator: fiducials}")
    write_recipe(workspace, "drawn", drawn.replace("evaluate:", "#"))
    plans = plan_good(workspace)
    stages = by_stage(plans["tags@xiao-esp32s3"])
    given = [s for s in stages.values() if any(i.source and i.name == "dataset" for i in s.inputs)]
    assert given == [stages["prepare"]]
    readers = {
        item.step for step in stages.values() for item in step.inputs if item.output == "dataset"
    }
    assert readers == {stages["prepare"].id}
    assert '"format":"ultralytics"' in stages["prepare"].params
    assert '"with_keypoints":true' in stages["prepare"].params
    assert "prepare" not in by_stage(plans["drawn@xiao-esp32s3"])


def test_two_recipes_share_what_is_the_same(workspace: Path) -> None:
    """Two recipes share the steps that are equal."""
    write_recipe(workspace, "tags", TRAINED)
    write_recipe(workspace, "copy", TRAINED.replace("{scheme: int8", "{io: float32, scheme: int8"))
    plans = plan_good(workspace)
    shared = _shared(plans["tags@xiao-esp32s3"], plans["copy@xiao-esp32s3"])
    assert {"train", "export", "convert", "calibration"} <= shared
    assert not {"quantize", "bind", "package"} & shared


def test_two_firmwares_share_the_quantized_file(workspace: Path) -> None:
    """Two firmwares share the quantized file."""
    write_recipe(workspace, "person", GIVEN)
    plans = plan_good(workspace)
    seeed, himax = plans["person@grove-vision-ai-v2"], plans["person@grove-himax"]
    assert set(_stages(seeed)) == set(_stages(himax))
    assert set(_stages(seeed)) - _shared(seeed, himax) == _OF_A_BOUND_FILE | _OF_A_COMPILED_FILE
    order = by_stage(himax)["bind"].params
    assert order.index("box_s16") < order.index("keypoints") < order.index("box_s32")


def test_the_load_test_has_the_limit_of_the_firmware(workspace: Path) -> None:
    """`fit` and the load test judge with the arena of the same firmware."""
    write_recipe(workspace, "person", GIVEN)
    stages = by_stage(plan_good(workspace)["person@grove-vision-ai-v2"])
    fit, load = (json.loads(stages[name].params) for name in ("fit", "load"))
    limits = [(found["firmware"], found["arena_kib"]) for found in (fit, load)]
    assert limits[0] == limits[1]
    assert limits[0][1] > 0


def test_a_board_of_one_yaml_file_shares_all_but_its_package(workspace: Path) -> None:
    """A board of one YAML file shares all steps but the package."""
    boards = "[linux-arm64-tflite, raspberry-pi-5, mine]"
    write_target(workspace, "mine", "extends: linux-arm64-tflite\nlabel: A board of my own\n")
    write_recipe(workspace, "tags", TRAINED.replace("[grove-vision-ai-v2, xiao-esp32s3]", boards))
    plans = plan_good(workspace)
    plain = plans["tags@linux-arm64-tflite"]
    for board in ("raspberry-pi-5", "mine"):
        other = plans[f"tags@{board}"]
        assert _stages(other) == _stages(plain)
        assert set(_stages(plain)) - _shared(plain, other) == {"package"}
    package = {item.name: item for item in by_stage(plain)["package"].inputs}
    assert package["templates"].source is not None
    assert (
        "linux/detect.py" in package["templates"].source.parts
    )  # another program makes another package
    assert "verdict-operators" in package
    drawn = {item.name for item in by_stage(plain)["drawings"].inputs}
    assert drawn == {"checkpoint", "recording", "pictures", "onnx", "tflite", "dataset"}
    assert "Not verified: the package on the board itself; none was attached." in plain.notes


def test_an_integer_file_is_measured_on_the_kernels_that_run_it(workspace: Path) -> None:
    """An integer file is evaluated with TFLite Micro's kernels for microcontrollers, with LiteRT's
    for Linux.
    """
    write_target(workspace, "mine", "extends: host\nlabel: A board of my own\n")
    boards = "[grove-vision-ai-v2, raspberry-pi-5, host, {target: mine, firmware: tflite-micro}]"
    write_recipe(workspace, "tags", TRAINED.replace("[grove-vision-ai-v2, xiao-esp32s3]", boards))
    plans = plan_good(workspace)
    found = {
        board: json.loads(by_stage(plans[f"tags@{board}"])["evaluate-tflite"].params)
        for board in ("grove-vision-ai-v2", "raspberry-pi-5", "host", "mine")
    }
    assert {board: params["reference_kernels"] for board, params in found.items()} == {
        "grove-vision-ai-v2": True,
        "raspberry-pi-5": False,
        "host": False,
        "mine": True,
    }


def test_measurement_stays_away_when_it_is_not_wanted(workspace: Path) -> None:
    """`evaluate: none` plans no evaluation and needs no labels."""
    write_recipe(workspace, "person", GIVEN)
    plan = plan_good(workspace)["person@grove-vision-ai-v2"]
    assert "Accuracy: not measured." in plan.notes
    assert not [stage for stage in _stages(plan) if stage.startswith(("evaluate", "gate"))]


def test_tflite_goes_straight_to_the_compiler(workspace: Path) -> None:
    """A TFLite source needs no dataset, input size or calibration."""
    write_recipe(workspace, "given", TFLITE)
    plans = plan_good(workspace)
    grove = plans["given@grove-vision-ai-v2"]
    assert _stages(grove) == ["tflm", "compile", "operators", "package", "load"]
    assert by_stage(grove)["compile"].tool_env == "vela-3.9"
    assert _stages(plans["given@host"]) == ["signal", "package"]


@pytest.mark.parametrize(
    ("entry", "why"),
    [
        ("{target: xiao-esp32s3, firmware: unchecked}", " (`firmware: unchecked`)."),
        ("xiao-esp32s3", "; target xiao-esp32s3 names no firmware contract for classify."),
        ("raspberry-pi-5", None),
    ],
)
def test_a_network_without_a_contract_is_noted_for_a_board_that_is_flashed(
    workspace: Path, entry: str, why: str | None
) -> None:
    """The manifest states that no contract was checked, with the reason."""
    text = (
        "source: {family: ultralytics, task: classify, architecture: yolov8n-cls, weights: random}\n"
        "input: {size: 96}\nevaluate: none\n"
        "quantization: {scheme: int8, calibration: {images: data/tags/images/train, count: 1}}\n"
    )
    write_recipe(workspace, "kinds", f"{text}targets: [{entry}]\n")
    (plan,) = [plan for name, plan in plan_good(workspace).items() if name.startswith("kinds@")]
    start = "Not verified: whether a firmware decodes this model"
    found = [note.removeprefix(start) for note in plan.notes if note.startswith(start)]
    assert found == ([why] if why else [])


def test_a_given_file_is_tried_by_the_runtime_that_runs_it(workspace: Path) -> None:
    """A source file is tested with TFLite Micro for a microcontroller, with LiteRT for a Linux
    board.
    """
    targets = "targets: [xiao-esp32s3, raspberry-pi-5]\nfirmware: unchecked\n"
    write_recipe(workspace, "given", TFLITE.split("targets:")[0] + targets)
    plans = plan_good(workspace)
    assert _stages(plans["given@xiao-esp32s3"]) == ["tflm", "package"]
    assert _stages(plans["given@raspberry-pi-5"]) == ["signal", "package"]
    assert all(plan.is_proved for plan in plans.values())


def test_the_licence_that_a_given_file_states_is_that_of_its_package(workspace: Path) -> None:
    """A package gets the licence that Ultralytics wrote into the source file; an overlong text is
    ignored.
    """
    agpl = "AGPL-3.0 License (https://ultralytics.com/license)"
    write_recipe(workspace, "given", TFLITE)
    file = workspace / "weights" / "model.tflite"
    for text, licences in (
        (f"{{'license': '{agpl}'}}", (f"{agpl} (as the given file states)",)),
        (f"{{'license': '{'x' * 201}'}}", ()),
        ("", ()),
    ):
        file.write_bytes(tflite_bytes(metadata=text))
        assert plan_good(workspace)["given@host"].licences == licences
    write_recipe(workspace, "given", ONNX)
    data = onnx_bytes(metadata={"license": agpl})
    (workspace / "weights" / "model.onnx").write_bytes(data)
    plan = plan_good(workspace)["given@ethos-u55-128-high-end"]
    assert plan.licences == (f"{agpl} (as the given file states)",)


def test_what_nothing_judges_is_known_as_such(workspace: Path) -> None:
    """A build without verdicts, such as a checkpoint's, is marked as such."""
    given = GIVEN.split("quantization:")[0] + "evaluate: none\ntargets: [checkpoint]\n"
    write_recipe(workspace, "person", given)
    assert not plan_good(workspace)["person@checkpoint"].is_proved


def test_onnx_enters_at_the_conversion(workspace: Path) -> None:
    """An ONNX source starts at the conversion, with its calibration images."""
    write_recipe(workspace, "given", ONNX)
    plan = plan_good(workspace)["given@ethos-u55-128-high-end"]
    stages = by_stage(plan)
    assert _stages(plan) == [
        "adapt",  # the file's input size is open
        "samples",
        "calibration",
        "convert",
        "quantize",
        "signal",
        "compile",
        "record-onnx",
        "record-float-tflite",
        "record-tflite",
        "tflm",
        "parity",
        "operators",
        "package",
        "load",
    ]
    assert {item.name for item in stages["quantize"].inputs} >= {"saved-model", "calibration"}
    (pictures,) = stages["calibration"].inputs
    assert pictures.source is not None
    assert pictures.source.path == str(workspace / "data/cam")


@pytest.mark.parametrize("where", ["images", "weights", "nowhere"])
def test_float16_is_converted_as_float32(workspace: Path, where: str) -> None:
    """An ONNX file that holds float16 is adapted before its conversion, and only then."""
    images = Edge(
        name="images", shape=(1, 3, 96, 160), dtype="float16" if where == "images" else "float32"
    )
    half = (("w", field(2, 10)),) if where == "weights" else ()
    data = onnx_bytes((images,), constants=half)
    (workspace / "weights" / "model.onnx").write_bytes(data)
    targets = "targets: [ethos-u55-128-high-end]"
    write_recipe(workspace, "given", ONNX)
    stages = by_stage(plan_good(workspace)["given@ethos-u55-128-high-end"])
    assert ("adapt" in stages) == (where != "nowhere")
    if where != "nowhere":
        assert json.loads(stages["adapt"].params)["widens"] is True
    if where == "weights":
        text = ONNX.replace(targets, "evaluate: none\ntargets: [triton-onnx]")
        write_recipe(workspace, "given", text.replace("scheme: int8", "scheme: float32"))
        assert "adapt" not in by_stage(plan_good(workspace)["given@triton-onnx"])


def test_remote_source_is_fetched_first(workspace: Path) -> None:
    """A remote source is fetched first, with its digest."""
    weights = f'{{url: "https://example.org/m.tflite", sha256: {TAGS_SHA256}}}'
    write_recipe(workspace, "far", TFLITE.replace("{path: weights/model.tflite}", weights))
    plan = plan_good(workspace)["far@host"]
    assert _stages(plan) == ["fetch", "signal", "package"]
    assert TAGS_SHA256 in by_stage(plan)["fetch"].params
    far = weights.replace("m.tflite", "m.onnx")
    write_recipe(workspace, "far", ONNX.replace("{path: weights/model.onnx}", far))
    plan = plan_good(workspace)["far@ethos-u55-128-high-end"]
    assert _stages(plan)[:2] == ["fetch", "adapt"], "it may be in float16, which nobody knows yet"


def test_outputs_that_no_plan_can_know_are_checked_when_the_file_is_opened(
    workspace: Path,
) -> None:
    """That is so for files with a `url`, open shapes, and keypoints in an unknown unit."""
    image, split = picture(64, 64), "task: detect, decoder: yolov8-split, classes: [a, b]"
    fixed = (Edge(name="a", shape=(1, 4, 84)), Edge(name="b", shape=(1, 84, 2)))
    batch = tuple(Edge(name=each.name, shape=("n", *each.shape[1:])) for each in fixed)
    loose = tuple(Edge(name=each.name, shape=(1, "x", "y")) for each in fixed)
    for name, outputs in {"fixed": fixed, "batch": batch, "loose": loose}.items():
        (workspace / "weights" / f"{name}.onnx").write_bytes(onnx_bytes((image,), outputs))
    pose = (Edge(name="images", shape=(1, 64, 64, 3)),), (Edge(name="o", shape=(1, 17, 84)),)
    words = '{"task": "pose", "names": {"0": "a"}, "imgsz": [64, 64], "kpt_shape": [4, 3]}'
    (workspace / "weights" / "pose.tflite").write_bytes(tflite_bytes(*pose, metadata=words))
    points = "task: pose, decoder: yolov8-normalized"
    url = f'url: "https://example.org/m", sha256: {TAGS_SHA256}'
    expected = {
        ("onnx", "path: weights/fixed.onnx", split): None,
        ("onnx", "path: weights/batch.onnx", split): None,
        ("onnx", "path: weights/loose.onnx", split): (True, False),
        ("onnx", url, split): (True, True),
        ("onnx", url, "task: detect, decoder: none"): None,
        ("tflite", url, split): (False, True),
        ("tflite", "path: weights/pose.tflite", points): (False, False),
    }
    for number, (family, weights, words) in enumerate(expected):
        source = f"source: {{family: {family}, weights: {{{weights}}}, {words}}}\n"
        rest = "input: {size: 64}\nevaluate: none\ntargets: [host]\n"
        write_recipe(workspace, f"r{number}", source + rest)
    plans = plan_good(workspace)
    for number, (key, flags) in enumerate(expected.items()):
        step = by_stage(plans[f"r{number}@host"]).get("outputs")
        found = json.loads(step.params) if step else {}
        assert ((found["by_order"], found["fetched"]) if found else None) == flags, key
        package = by_stage(plans[f"r{number}@host"])["package"]
        assert ("verdict-outputs" in {item.name for item in package.inputs}) == (flags is not None)


def test_names_and_shapes_of_a_given_file_prove_no_figures(workspace: Path) -> None:
    """A build whose only proof is `outputs` is not verified."""
    weights = f'{{url: "https://example.org/m", sha256: {TAGS_SHA256}}}'
    source = f"source: {{family: onnx, weights: {weights}, task: detect, decoder: yolov8-decoded"
    rest = ", classes: [a]}\ninput: {size: 64}\nevaluate: none\ntargets: [triton-onnx]\n"
    write_recipe(workspace, "given", source + rest)
    plan = plan_good(workspace)["given@triton-onnx"]
    assert "outputs" in _stages(plan)
    assert not plan.is_proved


def test_checkpoint_is_a_package_itself(workspace: Path) -> None:
    """A checkpoint can be the package itself."""
    recipe = TRAINED.replace("[grove-vision-ai-v2, xiao-esp32s3]", "[checkpoint]")
    recipe = recipe.replace("scheme: int8", "scheme: float32")
    write_recipe(workspace, "start", recipe)
    plan = plan_good(workspace)["start@checkpoint"]
    assert not {"export", "convert", "quantize"} & set(_stages(plan))
    assert plan.shipped is not None
    assert plan.shipped.step == by_stage(plan)["train"].id


def test_every_input_is_made_before_it_is_read(workspace: Path) -> None:
    """Every input of a step is made by an earlier step."""
    for name, recipe in (("a", TRAINED), ("b", GIVEN), ("c", TFLITE), ("d", ONNX)):
        write_recipe(workspace, name, recipe)
    for plan in plan_good(workspace).values():
        made: set[str] = set()
        for step in plan.steps:
            assert {item.step for item in step.inputs if item.step} <= made
            made.add(step.id)
        read = {item.step for step in plan.steps for item in step.inputs}
        assert plan.package in made - read, "nothing rests on the package"
        assert {step.id for step in plan.steps} - read == {plan.package, *plan.proofs}


def test_moved_workspace_keeps_its_steps(workspace: Path, tmp_path: Path) -> None:
    """A moved workspace keeps its action keys."""
    write_recipe(workspace, "tags", TRAINED)
    write_recipe(workspace, "person", GIVEN)
    before = {name: [step.id for step in plan.steps] for name, plan in plan_good(workspace).items()}
    moved = workspace.rename(tmp_path / "elsewhere")
    after = {name: [step.id for step in plan.steps] for name, plan in plan_good(moved).items()}
    assert before == after


def test_missing_weights_are_waited_for(workspace: Path) -> None:
    """A build with missing weights waits."""
    write_recipe(workspace, "person", GIVEN.replace("person.pt", "later.pt"))
    plans = plan_all(workspace)
    assert not plans.errors
    waiting = [plan for plan in plans.plans if isinstance(plan, WaitingPlan)]
    assert {plan.waiting_for for plan in waiting} == {"weights/later.pt"}
    assert len(waiting) == len(plans.plans)


def test_missing_images_are_waited_for_with_the_weights(workspace: Path) -> None:
    """A build with missing weights and images waits for both."""
    recipe = GIVEN.replace("person.pt", "later.pt").replace("data/cam", "data/later")
    write_recipe(workspace, "person", recipe)
    plans = plan_all(workspace)
    assert {told.severity for told in plans.diagnostics} == {"warning"}
    assert any("data/later" in told.message for told in plans.diagnostics)


def test_firmware_is_not_blamed_before_the_weights_are_here(workspace: Path) -> None:
    """A contract is not checked against the data's classes while the weights are missing."""
    recipe = GIVEN.replace("person.pt", "later.pt") + "dataset: {path: data/hands/data.yaml}\n"
    write_recipe(workspace, "person", recipe)
    assert not plan_all(workspace).errors


def test_onnx_that_is_shipped_as_it_is_wants_no_size(workspace: Path) -> None:
    """An ONNX file that is published unchanged needs no size."""
    write_target(workspace, "files", "label: files\npipelines: {float32: [package_files]}\n")
    write_recipe(
        workspace,
        "given",
        "source: {family: onnx, weights: {path: weights/model.onnx}}\ntargets: [files]\n",
    )
    assert _stages(plan_good(workspace)["given@files"]) == ["package"]


def test_target_of_ones_own(workspace: Path) -> None:
    """A workspace can define its own target."""
    label = "label: my board\n"
    write_target(workspace, "mine", label + "pipelines: {int8: [convert_tflite, package_flash]}\n")
    write_recipe(workspace, "tags", TRAINED.replace("xiao-esp32s3", "mine"))
    plans = plan_good(workspace)
    assert plans["tags@mine"].label == "my board"
    assert "quantize" in _shared(plans["tags@mine"], plans["tags@grove-vision-ai-v2"])


def test_null_removes_within_a_block(workspace: Path) -> None:
    """`null` removes a key within a block for one target."""
    entry = "{target: host, quantization: {scheme: float16, calibration: null}}"
    write_recipe(workspace, "tags", TRAINED.replace("xiao-esp32s3", entry))
    assert "calibration" not in _stages(plan_good(workspace)["tags@host"])


def test_null_removes_a_block(workspace: Path) -> None:
    """`null` removes a block."""
    entry = "{target: host, quantization: null}"
    write_recipe(workspace, "tags", TRAINED.replace("xiao-esp32s3", entry))
    assert "calibration" not in _stages(plan_good(workspace)["tags@host"])
