"""The step interface: what a module in `steps/` provides, checked by the registry."""

import dataclasses
import re
import sys
import types
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import pytest

from buildsys.errors import MalformedStep
from buildsys.registry import StepModule, find_step, get_step, read_step, step_names
from buildsys.spec import BoardSpec, Format, ModelSpec, Resources, StepSpec
from buildsys.steps import build_engine, gate, train_yolox
from tests.conftest import REPOSITORY

FIELDS = tuple(field.name for field in dataclasses.fields(StepSpec))


@dataclass(frozen=True, kw_only=True)
class Params:
    """Of this file's steps."""

    version: str = "1"


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Of the steps of this file."""


def run(inputs: dict[str, Path], outputs: dict[str, Path], params: Params) -> None:
    """Nothing."""


def plan(settings: Settings, model: ModelSpec, board: BoardSpec) -> Params:
    """The default."""
    return Params()


def module(**names: Any) -> Any:
    """A step module with these names."""
    made = types.ModuleType("buildsys.steps.mend_model")
    vars(made).update(names)
    return made


@pytest.mark.parametrize("name", step_names())
def test_every_step_of_the_catalogue_keeps_the_contract(name: str) -> None:
    """Every step of the catalogue follows the interface."""
    assert get_step(name).name == name


def test_shipped_modules_satisfy_the_protocol() -> None:
    """mypy holds modules that are imported by name against `StepModule`."""
    shipped: tuple[StepModule, ...] = (build_engine, gate, train_yolox)
    assert [read_step(step).name for step in shipped] == ["build_engine", "gate", "train_yolox"]


def test_a_module_is_read_once() -> None:
    """A module is read once, and the same value is returned."""
    assert read_step(gate) is get_step("gate") is read_step(gate)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ({}, "STEP is not a StepSpec"),
        ({"STEP": {"tool_env": "evaluate"}}, "STEP is not a StepSpec"),
        ({"STEP": StepSpec()}, "Params is not a frozen dataclass"),
        ({"STEP": StepSpec(), "Params": dict}, "Params is not a frozen dataclass"),
        ({"STEP": StepSpec(), "Params": Params}, "run is not a function (inputs, outputs, params)"),
        (
            {"STEP": StepSpec(), "Params": Params, "run": lambda params: None},
            "run is not a function (inputs, outputs, params)",
        ),
        (
            {"STEP": StepSpec(), "Params": Params, "run": run, "plan": plan},
            "Settings is not a frozen dataclass, which `plan` needs",
        ),
        (
            {"STEP": StepSpec(), "Params": Params, "run": run, "Settings": Settings},
            "plan is not a function (settings, model, board)",
        ),
    ],
)
def test_a_malformed_module_is_named_with_what_is_wrong(names: Any, message: str) -> None:
    """An invalid module is reported with its name and the error."""
    with pytest.raises(
        MalformedStep, match="^" + re.escape("buildsys/steps/mend_model.py: " + message)
    ):
        read_step(module(**names))


@pytest.mark.parametrize("field", FIELDS)
def test_a_field_of_another_type_is_named(field: str) -> None:
    """A field with a wrong type is named."""
    wrong: dict[str, Any] = {field: 3.5}
    spec = StepSpec(**wrong)
    with pytest.raises(MalformedStep, match=rf"mend_model.py: STEP\.{field} is not of type \S+"):
        read_step(module(STEP=spec, Params=Params, run=run))


@pytest.mark.parametrize("formats", [Format.ONNX, ["onnx"], ("onnx",)])
def test_formats_are_a_tuple(formats: Any) -> None:
    """Formats must be a tuple."""
    spec = dataclasses.replace(StepSpec(), consumes=formats)
    with pytest.raises(
        MalformedStep,
        match=r"STEP\.consumes is not of type tuple\[Format \| Intermediate, \.\.\.\]",
    ):
        read_step(module(STEP=spec, Params=Params, run=run))


def test_a_field_can_be_a_function_of_the_parameters() -> None:
    """Tool environment, resources and requirements may be functions of the parameters."""
    spec = StepSpec(
        tool_env=lambda params: f"mender-{params.version}",
        resources=lambda params: Resources(threads=int(params.version)),
        requires=lambda params: f"mender {params.version}",
    )
    step, params = read_step(module(STEP=spec, Params=Params, run=run)), Params(version="2")
    assert step.tool_env(params) == "mender-2"
    assert step.resources(params).threads == 2
    assert step.requires(params) == "mender 2"


def test_defaults_are_those_of_a_step_that_asks_for_nothing() -> None:
    """Defaults: the stage is the verb, and without `plan` the settings are the parameters."""
    step = read_step(module(STEP=StepSpec(), Params=Params, run=run))
    assert (step.stage, step.tool_env(Params()), step.requires(Params())) == ("mend", "", "")
    assert step.resources(Params()) == Resources()
    assert step.settings is Params


def test_a_step_declares_its_outputs() -> None:
    """A format is a folder or a file; other outputs are files."""
    made = {"saved-model": True, "layouts": False, "float-tflite": False}
    assert get_step("convert_onnx2tf").outputs == made
    assert get_step("compile_vela").outputs == {"vela-tflite": False, "summary": False}
    assert get_step("render_report").outputs == {}


def test_only_trainings_train_and_only_fetches_reach_the_network() -> None:
    """Only trainings have `trains`, and only fetching steps have network."""
    specs = {name: get_step(name).spec for name in step_names()}
    assert {n for n, spec in specs.items() if spec.trains} == {"train_ultralytics", "train_yolox"}
    assert {n for n, spec in specs.items() if spec.fetches} == {"fetch_file"}


def test_an_unknown_step_is_answered_with_a_near_one() -> None:
    """An unknown step is reported with a similar name; `steps/lib` is not a step."""
    assert "lib" not in step_names()
    assert find_step("train", "nothing") is None
    with pytest.raises(LookupError, match="gate"):
        get_step("gatr")


def test_the_example_of_the_documentation_is_a_step(tmp_path: Path) -> None:
    """The documentation's example step follows the interface and makes its package."""
    page = REPOSITORY / "docs" / "how-to" / "new-step.md"
    code = page.read_text(encoding="utf-8").split("```python\n", 1)[1].split("```", 1)[0]
    module = types.ModuleType("buildsys.steps.package_note")
    sys.modules[module.__name__] = module  # dataclasses look up annotations there
    try:
        exec(code, vars(module))
        step = read_step(cast(StepModule, module))
        (tmp_path / "model.onnx").write_bytes(b"onnx")
        folder = tmp_path / "package"
        run = vars(module)["run"]
        run({"onnx": tmp_path / "model.onnx"}, {"package": folder}, step.params(stem="tags"))
    finally:
        del sys.modules[module.__name__]
    assert step.spec.produces == Format.PACKAGE
    assert sorted(path.name for path in folder.iterdir()) == ["note.txt", "tags.onnx"]


def test_only_the_registry_asks_a_step_module_for_an_attribute() -> None:
    """Only the registry reads attributes of step modules."""
    asking = re.compile(
        r"(getattr|hasattr)\((module|step_module|read_step|get_step)\b|startswith\(.(train|fetch|evaluate)_"
    )
    places = [
        path.relative_to(REPOSITORY).as_posix()
        for path in sorted((REPOSITORY / "buildsys").rglob("*.py"))
        if "steps" not in path.parts and asking.search(path.read_text(encoding="utf-8"))
    ]
    assert places == []
