"""What a plan consists of: artifacts, the steps that make them, and what became of a step.

Plans are kept as JSON between runs, so that a run in which nothing changed parses no recipe and
imports no validation library.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum

from buildsys.errors import BuildsysError
from buildsys.recorded_facts import Fact
from buildsys.spec import Format

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
        """The machine's name with the GPU in front, where there is one."""
        return f"{self.gpu}, {self.cpu}" if self.gpu else self.cpu


@dataclass(frozen=True, kw_only=True)
class Source:
    """Something that a person gave: a file, or chosen parts of a folder.

    `path` is absolute; `label` is how messages name it; `parts`, for a tree, are the files and
    folders below `path` that belong to it (a dataset's folder may hold more than the dataset).
    `home` is the folder that links in it may not lead out of; empty where they may lead anywhere.
    """

    path: str
    label: str
    parts: tuple[str, ...] = ()
    sha256: str = ""
    """The digest that the recipe pins; empty: not pinned."""
    kind: str = ""
    """dataset | model | pictures: the kind of its line in buildsys.lock; empty: it is in the
    repository.
    """
    home: str = ""


@dataclass(frozen=True, kw_only=True)
class Input:
    """One named input of a step: a source, or an output of an earlier step."""

    name: str
    source: Source | None = None
    step: str = ""
    output: str = ""


def is_checkpoint(name: str, item: Input) -> bool:
    """Whether a step's input, by its name there, is a file that its framework unpickles."""
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
    """One piece of work, shared by every build that needs the same.

    `id` digests module, parameters and the ids of the inputs: what is shared. The action key (see
    execution.state.action_keys) adds the content: code, tools, inputs' digests.
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
    """The tool as people name it, with its version: "vela 4.5.0"."""
    tool_identity: str
    memory_mib: int
    threads: int
    framework: bool
    gpu: bool
    """It takes a whole GPU where the machine has one."""
    device: str
    """auto | cpu | cuda: the device that the recipe requests; not part of any key."""
    origins: tuple[Origin, ...]
    local: bool = False
    """Its result depends on the machine that ran it: not part of the manifest."""
    requires: str = ""
    """What of the host it cannot do without, see host_tools.missing_requirement; where that is missing, it waits,
    and a proof is not done."""
    alone: bool = False
    """It measures time: no other step of this run runs beside it."""
    trains: bool = False
    """Its result is recorded in buildsys.lock, and a killed run goes on where it was."""
    fetches: bool = False
    """It reaches the network; `buildsys sync` runs these ahead of time."""
    trusts_code: bool = False
    """The recipe lets the checkpoint that it reads run code; a permission, and no part of any key."""
    holds_objects: bool = False
    """The checkpoint that it reads may hold networks as objects, by its family; no part of any key."""


@dataclass(frozen=True, kw_only=True)
class Variant:
    """One of a recipe's variants as `select` saw it. `value`: None where it was not made or measured."""

    build: str
    passed: bool
    value: float | None


@dataclass(frozen=True, kw_only=True)
class Choice:
    """What was chosen among what, and by which figure."""

    chosen: str
    metric: str
    maximize: bool
    among: tuple[Variant, ...]

    @property
    def for_manifest(self) -> dict[str, object]:
        """As the manifest has it."""
        rows = [{"build": v.build, "passed": v.passed, "value": v.value} for v in self.among]
        key = "maximize" if self.maximize else "minimize"
        return {"chosen": self.chosen, key: self.metric, "among": rows}


@dataclass(frozen=True, kw_only=True)
class BuildPlan:
    """One build: its steps in order, and which output is the package."""

    build: str
    recipe: str
    target: str
    label: str
    steps: tuple[Step, ...]
    package: str
    """Id of the step that makes the package."""
    shipped: Input | None
    """The model file inside the package, as a step's output: what a red gate rejects. None for steps that
    run beside the builds."""
    verdicts: tuple[str, ...] = ()
    """Ids of the steps that may reject it: what fits, what is accurate enough."""
    notes: tuple[str, ...] = ()
    """What stays unverified, in sentences."""
    licences: tuple[str, ...] = ()
    facts: tuple[Fact, ...] = ()
    """Of its sources, for buildsys.lock: what planning without the data needs."""
    choice: Choice | None = None
    """Of the variant that ships as its recipe's selection."""
    proofs: tuple[str, ...] = ()
    """Ids of steps that no package rests on, and whose results are published beside it."""
    preprocessing: str = ""
    """JSON: the way from a photograph to the input, for the manifest; empty if unknown."""
    fit: str = ""
    """What `buildsys fit` keeps its answer by; empty where the input's size is no choice."""

    @property
    def is_proved(self) -> bool:
        """Whether anything is measured or judged before its package ships."""
        made = {output.name for step in self.steps for output in step.outputs}
        return bool(made.intersection(PROOFS))


@dataclass(frozen=True, kw_only=True)
class Archive:
    """A dataset's archive, which has to be fetched before anything can be planned with it."""

    url: str
    sha256: str


@dataclass(frozen=True, kw_only=True)
class WaitingPlan:
    """A build that cannot be planned yet: something that its steps depend on is not here."""

    build: str
    recipe: str
    target: str
    label: str
    waiting_for: str
    """What is not here, as messages name it."""
    facts: tuple[Fact, ...] = ()
    """Of its sources, for buildsys.lock: what is known already."""
    archive: Archive | None = None


@dataclass(frozen=True, kw_only=True)
class SelectionPlan:
    """A recipe with `select`: one of its variants ships under this id; it has no steps of its own."""

    build: str
    recipe: str
    target: str
    label: str
    candidates: tuple[str, ...]
    """The builds that it chooses among."""
    metric: str
    maximize: bool


Plan = BuildPlan | WaitingPlan | SelectionPlan
"""The facts of one build. The kinds have different fields, so that JSON distinguishes them."""
PROOFS = frozenset({"verdict", "metrics", "evidence"})
"""Outputs of steps that measure and judge."""


def build_plans(plans: Iterable[Plan]) -> tuple[BuildPlan, ...]:
    """Those that have steps."""
    return tuple(plan for plan in plans if isinstance(plan, BuildPlan))


def candidate_names(plans: Iterable[Plan]) -> frozenset[str]:
    """The builds that some selection chooses among: they have no folder of their own."""
    selections = (plan for plan in plans if isinstance(plan, SelectionPlan))
    return frozenset(name for plan in selections for name in plan.candidates)


def candidates_of(plan: Plan, known: Mapping[str, Plan]) -> tuple[Plan, ...]:
    """The plans that a selection compares; a candidate whose recipe has a mistake has none."""
    names = plan.candidates if isinstance(plan, SelectionPlan) else ()
    return tuple(known[name] for name in names if name in known)


def steps_of(plan: Plan) -> tuple[Step, ...]:
    """A plan's own steps; none while it waits, and of a selection, whose candidates have them."""
    return plan.steps if isinstance(plan, BuildPlan) else ()


def wanted_archives(plans: Iterable[Plan]) -> tuple[Archive, ...]:
    """The archives that builds wait for, once each."""
    waiting = (plan for plan in plans if isinstance(plan, WaitingPlan))
    return tuple(dict.fromkeys(plan.archive for plan in waiting if plan.archive is not None))


class Status(StrEnum):
    """What a step's decision can be."""

    UP_TO_DATE = "up-to-date"
    RESTORABLE = "restorable"
    STALE = "stale"
    MISSING = "missing"
    PENDING = "pending"
    WAITING = "waiting"
    REJECTED = "rejected"


@dataclass(frozen=True, kw_only=True)
class Reason:
    """Why a step has to run: what was, what is, where it was written."""

    subject: str
    old: str = ""
    new: str = ""
    place: str = ""

    def __str__(self) -> str:
        change = f" {self.old} → {self.new}" if self.old or self.new else ""
        return f"{self.subject}{change}" + (f", {self.place}" if self.place else "")


@dataclass(frozen=True, kw_only=True)
class Decision:
    """The one judgement on a step that doit and `buildsys plan` share."""

    status: Status
    key: str = ""
    reasons: tuple[Reason, ...] = ()


@dataclass(frozen=True, kw_only=True)
class StepResult:
    """Digests of a step's outputs by name, and how long the step took when it last ran."""

    outputs: tuple[tuple[str, str], ...]
    seconds: float
    passed: bool = True
    """False for a gate whose verdict is red."""

    def output(self, name: str) -> str:
        """The digest of one output. Raises BuildsysError if the record lacks it."""
        for known, digest in self.outputs:
            if known == name:
                return digest
        names = ", ".join(known for known, _ in self.outputs) or "none"
        raise BuildsysError(
            f"a recorded result has no output `{name}` (it has: {names});"
            " delete .buildsys/state.sqlite: results come back from the store"
        )
