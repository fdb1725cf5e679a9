"""The catalogue of steps, each module read once into a typed value; and shipped data by name."""

import dataclasses
import importlib
import inspect
import pkgutil
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from types import MappingProxyType, UnionType
from typing import Any, Literal, Protocol, Union, cast, get_args, get_origin

import buildsys.steps
from buildsys.errors import MalformedStep
from buildsys.graph import Device, Input, Origin, Output, Step
from buildsys.spec import (
    INTERMEDIATE_SUFFIXES,
    SUFFIXES,
    TREES,
    BoardSpec,
    Format,
    Intermediate,
    ModelSpec,
    Resources,
    StepSpec,
)
from buildsys.text import did_you_mean

PACKAGE = Path(__file__).resolve().parent
_SUFFIXES = {str(kind): suffix for kind, suffix in (SUFFIXES | INTERMEDIATE_SUFFIXES).items()}
_CONVERTED = ((Format.ONNX,), (Intermediate.PROGRAM,))


class StepModule(Protocol):
    """What every file in `steps/` provides.

    A step whose parameters come from a block of a recipe or target, or from the model by the
    planner, also provides `Settings` (a frozen dataclass: the block) and `plan(settings: Settings,
    model: ModelSpec, board: BoardSpec) -> Params` (pure). For other steps the planner gives
    `Params` directly.
    """

    @property
    def __name__(self) -> str: ...

    @property
    def STEP(self) -> StepSpec:  # noqa: N802 - a module's constant
        """What is declared about the step without running it."""

    @property
    def Params(self) -> type[Any]:  # noqa: N802 - a module's class
        """A frozen dataclass: everything that decides the result beside the inputs' content."""

    def run(self, inputs: dict[str, Path], outputs: dict[str, Path], params: Any) -> None:
        """Make the outputs from the inputs; the step's tools are imported inside."""


@dataclass(frozen=True, kw_only=True)
class StepDefinition:
    """One step of the catalogue, as `read_step` reads it from its module."""

    name: str
    """The module's name: `<verb>_<object>`."""
    spec: StepSpec
    params: type[Any]
    settings: type[Any]
    """The type of `plan`'s settings; `params` itself for a module without `plan`."""
    plan: Callable[[Any, ModelSpec, BoardSpec], Any]
    """(settings, model, board) -> params."""

    @property
    def stage(self) -> str:
        """Return the step's name in messages, unless its place in the plan has another."""
        return self.spec.stage or self.name.split("_")[0]

    @cached_property
    def outputs(self) -> Mapping[str, bool]:
        """Return its outputs: name -> whether it is a tree."""
        first = () if self.spec.produces is None else (self.spec.produces,)
        return MappingProxyType(
            {name: name in TREES for name in (*first, *self.spec.also_produces)}
        )

    def tool_env(self, params: Any) -> str:
        """Return the tool environment for these parameters; empty: the Python that runs
        buildsys.
        """
        found = self.spec.tool_env
        return found if isinstance(found, str) else found(params)

    def resources(self, params: Any) -> Resources:
        """Return the resources that it takes with these parameters."""
        found = self.spec.resources
        return found if isinstance(found, Resources) else found(params)

    def requires(self, params: Any) -> str:
        """Return what it requires of the host; empty for nothing."""
        found = self.spec.requires
        return found if isinstance(found, str) else found(params)


@cache
def make_outputs(named: tuple[tuple[str, bool], ...]) -> tuple[Output, ...]:
    """Return a step's outputs from (name, whether it is a tree)."""
    return tuple(
        Output(name=str(key), tree=tree, suffix=_SUFFIXES.get(key, ".json")) for key, tree in named
    )


def new_step(
    definition: StepDefinition,
    params: Any,
    text: str,
    *,
    step_id: str,
    stage: str,
    inputs: tuple[Input, ...],
    outputs: tuple[Output, ...],
    device: Device = "auto",
    trusts_code: bool = False,
    holds_objects: bool = False,
    origins: tuple[Origin, ...] = (),
) -> Step:
    """Return a step with all that its definition declares for these parameters.

    Its code and tools are added later. `text`: the parameters as canonical JSON.
    """
    spec, needs = definition.spec, definition.resources(params)
    return Step(
        id=step_id,
        stage=stage,
        module=definition.name,
        params=text,
        inputs=inputs,
        outputs=outputs,
        code="",
        tool_env=definition.tool_env(params),
        tool="",
        tool_identity="",
        memory_mib=needs.memory_mib,
        threads=needs.threads,
        gpu=needs.gpu and device != "cpu",
        alone=needs.alone,
        device=device,
        origins=origins,
        local=spec.local,
        trains=spec.trains,
        fetches=spec.fetches,
        requires=definition.requires(params),
        trusts_code=trusts_code,
        holds_objects=holds_objects,
    )


@cache
def step_names() -> tuple[str, ...]:
    """Return the names of all step modules, sorted."""
    found = pkgutil.iter_modules(buildsys.steps.__path__)
    return tuple(sorted(module.name for module in found if not module.ispkg))


@cache
def get_step(name: str) -> StepDefinition:
    """Return the step of that name. Raises LookupError with a suggestion."""
    if name not in step_names():
        raise LookupError(f"there is no step `{name}`; {did_you_mean(name, step_names())}")
    return read_step(importlib.import_module(f"buildsys.steps.{name}"))


@cache
def find_step(verb: str, kind: str) -> StepDefinition | None:
    """Return the step `<verb>_<kind>`, such as train_ultralytics; None if it does not exist.

    A hyphen of a tool's name is an underscore in its module's: onnx-tf, convert_onnx_tf.
    """
    name = f"{verb}_{kind}".replace("-", "_")
    return get_step(name) if name in step_names() else None


def converters() -> tuple[str, ...]:
    """Return the values of `convert.tool`: the environments of all steps from ONNX or from a traced
    program to another format.
    """
    specs = [get_step(f"convert_{kind}").spec for kind in kinds("convert")]
    return tuple(str(spec.tool_env) for spec in specs if spec.consumes in _CONVERTED)


def kinds(verb: str) -> tuple[str, ...]:
    """Return the objects of all `<verb>_` modules: kinds("generate") -> ("fiducials",)."""
    prefix = f"{verb}_"
    return tuple(name.removeprefix(prefix) for name in step_names() if name.startswith(prefix))


def read_step(module: StepModule) -> StepDefinition:
    """Return the module's checked contract.

    Raises MalformedStep with the module and the malformed field.
    """
    return _read_once(cast(Hashable, module))


@cache
def _read_once(module: Any) -> StepDefinition:
    name = module.__name__.rsplit(".", 1)[-1]
    found = vars(module)
    spec = found.get("STEP")
    if not isinstance(spec, StepSpec):
        raise _malformed(name, "STEP", "is not a StepSpec")
    for field in dataclasses.fields(StepSpec):
        if not _fits(vars(spec)[field.name], field.type):
            wanted = str(field.type).replace("buildsys.spec.", "")
            raise _malformed(name, f"STEP.{field.name}", f"is not of type {wanted}")
    params = found.get("Params")
    if not _is_frozen(params):
        raise _malformed(name, "Params", "is not a frozen dataclass")
    _check_function(name, found.get("run"), "run", ("inputs", "outputs", "params"))
    if "plan" not in found and "Settings" not in found:
        return StepDefinition(name=name, spec=spec, params=params, settings=params, plan=_as_given)
    if not _is_frozen(found.get("Settings")):
        raise _malformed(name, "Settings", "is not a frozen dataclass, which `plan` needs")
    _check_function(name, found.get("plan"), "plan", ("settings", "model", "board"))
    return StepDefinition(
        name=name, spec=spec, params=params, settings=found["Settings"], plan=found["plan"]
    )


def _as_given(settings: Any, model: ModelSpec, board: BoardSpec) -> Any:
    return settings


def _malformed(name: str, field: str, why: str) -> MalformedStep:
    return MalformedStep(f"buildsys/steps/{name}.py: {field} {why}")


def _fits(value: object, kind: Any) -> bool:
    """Return whether a field's value matches its annotation."""
    origin, parts = get_origin(kind), get_args(kind)
    if origin in (Union, UnionType):
        return any(_fits(value, part) for part in parts)
    if origin is Literal:
        return value in parts
    if origin is tuple:
        return isinstance(value, tuple) and all(_fits(item, parts[0]) for item in value)
    return callable(value) if origin is Callable else isinstance(value, kind)


def _is_frozen(kind: object) -> bool:
    parameters = getattr(kind, "__dataclass_params__", None)
    return isinstance(kind, type) and parameters is not None and bool(parameters.frozen)


def _check_function(name: str, found: object, field: str, parameters: tuple[str, ...]) -> None:
    if not callable(found) or tuple(inspect.signature(found).parameters) != parameters:
        raise _malformed(name, field, f"is not a function ({', '.join(parameters)})")


@cache
def versions(tool: str) -> tuple[str, ...]:
    """Return the versions of a tool that have an environment, `<tool>-<version>`."""
    folders = (PACKAGE / "envs").glob(f"{tool}-*")
    return tuple(sorted(folder.name.removeprefix(f"{tool}-") for folder in folders))


def shipped_targets() -> Path:
    """Return the folder of targets and firmware contracts that came with the package.

    In a checkout it is the top-level `targets/`; a wheel contains a copy inside the package.
    """
    inside = PACKAGE / "targets"
    return inside if inside.is_dir() else PACKAGE.parent / "targets"
