"""The parts of a plan: artifacts, the steps that make them, and the results of steps.

Plans are kept as JSON between runs, so that a run in which nothing changed parses no recipe and
imports no validation library.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

from buildsys.errors import BuildsysError
from buildsys.recorded_facts import Fact
from buildsys.spec import Format

Device = Literal["auto", "cpu", "cuda"]
"""The device of a training."""
WEIGHTS = "weights"
"""The input of a training that is a checkpoint to start from."""


@dataclass(frozen=True, kw_only=True)
class HostFacts:
    """Facts about the machine that plans: read once, passed to the planner.

    `cpu` names the machine: "AMD EPYC (x86_64)". `gpu`, its `compute_capability` and the exact
    version of `tensorrt` are empty if there is none, and if no build needs them: finding them
    starts a process.
    """

    cpu: str
    gpu: str = ""
    compute_capability: str = ""
    tensorrt: str = ""

    @property
    def cpu_and_gpu(self) -> str:
        """Return the machine's name, preceded by the GPU if there is one."""
        return f"{self.gpu}, {self.cpu}" if self.gpu else self.cpu


@dataclass(frozen=True, kw_only=True)
class Source:
    """A file, or chosen parts of a folder, that a person provided.

    `path` is absolute; `label` is its name in buildsys.lock; `parts`, for a tree, are the files and
    folders below `path` that belong to it (a dataset's folder may contain more). `home` is the
    folder that its links must not leave; empty: no restriction.
    """

    path: str
    label: str
    parts: tuple[str, ...] = ()
    sha256: str = ""
    """The digest that the recipe pins; empty: not pinned."""
    kind: str = ""
    """dataset | model | pictures: the kind of its line in buildsys.lock; empty for a file in the
    repository.
    """
    home: str = ""
    readable: str = ""
    """Its name in messages; empty: the label."""

    @property
    def name(self) -> str:
        """Return its name in messages."""
        return self.readable or self.label


@dataclass(frozen=True, kw_only=True)
class Input:
    """One named input of a step: a source, or an output of an earlier step."""

    name: str
    source: Source | None = None
    step: str = ""
    output: str = ""


def names_library(requires: str) -> bool:
    """Return whether a step's `requires` is "library version compute-capability", not the name of a
    program.
    """
    return " " in requires


def is_checkpoint(name: str, item: Input) -> bool:
    """Return whether a step's input is a file that its framework unpickles."""
    if item.source is None:
        return item.output == Format.CHECKPOINT
    return item.source.kind == "model" and name in (Format.CHECKPOINT, WEIGHTS)


@dataclass(frozen=True, kw_only=True)
class Output:
    """One named output; a tree is a folder, otherwise it is one file."""

    name: str
    tree: bool
    suffix: str = ""


@dataclass(frozen=True, kw_only=True)
class Origin:
    """Where a parameter was written: its name in the recipe, file and line."""

    parameter: str
    label: str
    path: str = ""
    line: int = 0


@dataclass(frozen=True, kw_only=True)
class Step:
    """One piece of work, shared by all builds that need the same.

    `id` is the digest of module, parameters and the ids of the inputs: equal ids are shared. The
    action key (see execution.state.action_keys) also covers the content: code, tools, inputs'
    digests.
    """

    id: str
    stage: str
    module: str
    params: str
    """Canonical JSON."""
    inputs: tuple[Input, ...]
    outputs: tuple[Output, ...]
    code: str
    tool_env: str
    tool: str
    """The tool's name for people, with its version: "vela 4.5.0"."""
    tool_identity: str
    memory_mib: int
    threads: int
    gpu: bool
    """The step takes a whole GPU, if the machine has one."""
    device: Device
    """The device that the recipe requests; not part of any key."""
    origins: tuple[Origin, ...]
    local: bool = False
    """The result depends on the machine that ran the step: it is not part of the manifest."""
    requires: str = ""
    """What the step requires of the host, see host_tools.missing_requirement.

    Without it the step waits; a proof is not done.
    """
    alone: bool = False
    """The step measures time: no other step of this run runs beside it."""
    trains: bool = False
    """The result is recorded in buildsys.lock, and a killed run continues."""
    fetches: bool = False
    """The step uses the network; `buildsys sync` runs it ahead of time."""
    trusts_code: bool = False
    """The recipe allows code in the checkpoint that the step reads; not part of any key."""
    holds_objects: bool = False
    """The checkpoint that the step reads may contain networks as objects; not part of any key."""

    @property
    def loads_library(self) -> bool:
        """Return whether the step loads a GPU's library of its machine, such as TensorRT."""
        return names_library(self.requires)


@dataclass(frozen=True, kw_only=True)
class Variant:
    """A variant that `select` compared; `value`: None where it was not made or measured."""

    build: str
    passed: bool
    value: float | None


@dataclass(frozen=True, kw_only=True)
class Choice:
    """The chosen variant, the candidates, and the metric that decided."""

    chosen: str
    metric: str
    maximize: bool
    among: tuple[Variant, ...]

    @property
    def for_manifest(self) -> dict[str, object]:
        """Return the choice as the manifest contains it."""
        rows = [{"build": v.build, "passed": v.passed, "value": v.value} for v in self.among]
        key = "maximize" if self.maximize else "minimize"
        return {"chosen": self.chosen, key: self.metric, "among": rows}


@dataclass(frozen=True, kw_only=True)
class BuildPlan:
    """One build: its steps in order, and the output that is the package."""

    build: str
    recipe: str
    target: str
    label: str
    steps: tuple[Step, ...]
    package: str
    """Id of the step that makes the package."""
    shipped: Input | None
    """The model file in the package, as a step's output: the file that a red gate rejects.

    None for steps outside builds.
    """
    verdicts: tuple[str, ...] = ()
    """Ids of the steps that may reject the build: its size, its accuracy."""
    notes: tuple[str, ...] = ()
    """Sentences about what stays unverified."""
    licences: tuple[str, ...] = ()
    facts: tuple[Fact, ...] = ()
    """Facts of its sources for buildsys.lock, from which it can be planned without the data."""
    choice: Choice | None = None
    """Set on the plan of the variant that ships as its recipe's selection."""
    proofs: tuple[str, ...] = ()
    """Ids of steps that the package does not depend on, and whose results are published beside it.
    """
    preprocessing: str = ""
    """JSON: the way from a photograph to the input, for the manifest; empty if unknown."""
    fit: str = ""
    """The key under which `buildsys fit` records its result; empty where the input size is fixed.
    """

    @property
    def is_proved(self) -> bool:
        """Return whether anything is measured or judged before the package ships."""
        steps = (step for step in self.steps if step.stage not in SHAPES_ALONE)
        made = {output.name for step in steps for output in step.outputs}
        return bool(made.intersection(PROOFS))


@dataclass(frozen=True, kw_only=True)
class Archive:
    """A dataset's archive, which has to be fetched before its builds can be planned."""

    url: str
    sha256: str


@dataclass(frozen=True, kw_only=True)
class WaitingPlan:
    """A build that cannot be planned yet, because something that its steps depend on is missing."""

    build: str
    recipe: str
    target: str
    label: str
    waiting_for: str
    """The missing thing's name in messages."""
    facts: tuple[Fact, ...] = ()
    """Facts of its sources for buildsys.lock, as far as they are known."""
    archive: Archive | None = None


@dataclass(frozen=True, kw_only=True)
class SelectionPlan:
    """A recipe with `select`: one of its variants ships under this id; it has no steps itself."""

    build: str
    recipe: str
    target: str
    label: str
    candidates: tuple[str, ...]
    """The builds that the selection compares."""
    metric: str
    maximize: bool


Plan = BuildPlan | WaitingPlan | SelectionPlan
"""The facts of one build. The kinds have different fields, so that JSON distinguishes them."""
PROOFS = frozenset({"verdict", "metrics", "evidence"})
"""Outputs of steps that measure and judge."""
SHAPES_ALONE = frozenset({"outputs"})
"""Stages of checks that compare names and shapes of a file that was given."""


def build_plans(plans: Iterable[Plan]) -> tuple[BuildPlan, ...]:
    """Return the plans that have steps."""
    return tuple(plan for plan in plans if isinstance(plan, BuildPlan))


def candidate_names(plans: Iterable[Plan]) -> frozenset[str]:
    """Return the builds that a selection compares; they have no folders."""
    selections = (plan for plan in plans if isinstance(plan, SelectionPlan))
    return frozenset(name for plan in selections for name in plan.candidates)


def candidates_of(plan: Plan, known: Mapping[str, Plan]) -> tuple[Plan, ...]:
    """Return the plans that a selection compares, without candidates whose recipe has a mistake."""
    names = plan.candidates if isinstance(plan, SelectionPlan) else ()
    return tuple(known[name] for name in names if name in known)


def steps_of(plan: Plan) -> tuple[Step, ...]:
    """Return a plan's steps; none for a waiting plan or a selection."""
    return plan.steps if isinstance(plan, BuildPlan) else ()


def wanted_archives(plans: Iterable[Plan]) -> tuple[Archive, ...]:
    """Return the archives that builds wait for, once each."""
    waiting = (plan for plan in plans if isinstance(plan, WaitingPlan))
    return tuple(dict.fromkeys(plan.archive for plan in waiting if plan.archive is not None))


class Status(StrEnum):
    """The possible decisions on a step."""

    UP_TO_DATE = "up-to-date"
    RESTORABLE = "restorable"
    STALE = "stale"
    MISSING = "missing"
    PENDING = "pending"
    WAITING = "waiting"
    REJECTED = "rejected"

    @property
    def is_done(self) -> bool:
        """Return whether there is a result, here or in the store."""
        return self in (Status.UP_TO_DATE, Status.RESTORABLE)

    @property
    def is_due(self) -> bool:
        """Return whether the step has to run."""
        return self in (Status.STALE, Status.MISSING)

    @property
    def may_run(self) -> bool:
        """Return whether the step has to run, or may have to once its inputs are made."""
        return self.is_due or self == Status.PENDING


@dataclass(frozen=True, kw_only=True)
class Reason:
    """Why a step has to run: the old and the new value, and where it was written."""

    subject: str
    old: str = ""
    new: str = ""
    place: str = ""

    def __str__(self) -> str:
        change = f" {self.old} → {self.new}" if self.old or self.new else ""
        return f"{self.subject}{change}" + (f", {self.place}" if self.place else "")


@dataclass(frozen=True, kw_only=True)
class Decision:
    """The decision on a step; doit and `buildsys plan` use the same one."""

    status: Status
    key: str = ""
    reasons: tuple[Reason, ...] = ()
    waits_for: str = ""
    """The file or the part of a machine that is missing, of a step that waits."""
    needs_machine: bool = False
    """Whether this machine lacks what the step itself waits for."""


@dataclass(frozen=True, kw_only=True)
class StepResult:
    """Digests of a step's outputs by name, and the seconds that the step last took."""

    outputs: tuple[tuple[str, str], ...]
    seconds: float
    passed: bool = True
    """False for a gate with a red verdict."""

    def output(self, name: str) -> str:
        """Return the digest of one output. Raises BuildsysError if the record lacks it."""
        for known, digest in self.outputs:
            if known == name:
                return digest
        names = ", ".join(known for known, _ in self.outputs) or "none"
        raise BuildsysError(
            f"a recorded result has no output `{name}` (it has: {names});"
            " delete .buildsys/state.sqlite: results come back from the store"
        )
