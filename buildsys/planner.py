"""Recipe, target and facts -> plan: which steps, joined by which artifacts. Pure.

The chain starts where the source's format is consumed and follows the target's pipeline; where a
pipeline's step wants a format that is not there yet, the step that makes it is put in between
(the family's export, the recipe's converter). Measurements hang on the side; the package is last.
"""

import dataclasses
from types import ModuleType
from typing import Any

from buildsys.authoring.build import Build
from buildsys.authoring.model import board_spec, model_fits, model_spec
from buildsys.authoring.pictures import split_glob
from buildsys.authoring.pipelines import FIRST, follow
from buildsys.authoring.recipe import CALIBRATED
from buildsys.authoring.registry import find_step, step_module
from buildsys.digest import canonical, digest_value
from buildsys.graph import Input, Output, Plan, Source, Step
from buildsys.origins import find_origins
from buildsys.spec import (
    SUFFIXES,
    TREES,
    Format,
    Resources,
)

_VERDICTS = ("fits", "verdict")
_SAMPLES = 4
"""Pictures on which every conversion is compared with its input."""

_ULTRALYTICS_LICENCE = (
    "Trained and exported with Ultralytics (AGPL-3.0): its licence, or an Enterprise licence from"
    " Ultralytics, governs the use of this model."
)
_NPU_NOTE = (
    "Not verified: the arithmetic of the NPU. Accuracy was measured on the TFLite file before Vela;"
    " no Ethos-U runs here."
)


def plan(build: Build, workspace: str) -> Plan:
    """The steps of one build, whose pipeline is known to fit together."""
    return _Planner(build, workspace).plan()


def plan_dataset(build: Build, workspace: str) -> tuple[tuple[Step, ...], Input | None]:
    """The steps that make a build's dataset, and the dataset; None where the recipe has none."""
    planner = _Planner(build, workspace)
    planner._add_dataset()
    return tuple(planner.steps), planner.made.get("dataset")


def make_step(
    stage: str, module: ModuleType, params: Any, inputs: dict[Any, Input], outputs: dict[Any, bool],
    places: tuple[tuple[str, str, int], ...] = (), device: str = "auto",
) -> Step:  # fmt: skip
    """One step, known by what decides its result. `outputs`: name -> whether it is a tree;
    `places`: where each key of the recipe was written.
    """
    name = module.__name__.rsplit(".", 1)[-1]
    named = tuple(dataclasses.replace(item, name=str(key)) for key, item in inputs.items())
    tool_env = module.tool_env(params) if hasattr(module, "tool_env") else module.TOOL_ENV
    needs = getattr(module, "RESOURCES", Resources())
    needs = module.resources(params) if hasattr(module, "resources") else needs
    text = canonical(params)
    identity = [name, text, [_identify(item) for item in named]]
    return Step(
        id=digest_value(identity)[:32],
        stage=stage,
        module=name,
        params=text,
        inputs=named,
        outputs=tuple(
            Output(name=str(key), tree=tree, suffix=SUFFIXES.get(key, ".json"))
            for key, tree in outputs.items()
        ),
        code="", tool_env=tool_env, tool="", tool_identity="",
        memory_mib=needs.memory_mib, threads=needs.threads, framework=needs.framework,
        gpu=needs.gpu and device != "cpu", device=device,
        origins=find_origins(stage, getattr(module, "BLOCK", ""), text, places),
    )  # fmt: skip


class _Planner:
    def __init__(self, build: Build, workspace: str) -> None:
        self.build, self.workspace = build, workspace
        self.model, self.board = model_spec(build), board_spec(build)
        self.steps: list[Step] = []
        self.made: dict[str, Input] = {}
        """Latest artifact per format or auxiliary name."""

    def plan(self) -> Plan:
        build, recipe = self.build, self.build.recipe
        self._add_dataset()
        self._add_source()
        if recipe.train is not None:
            self._add_training()
        self._add_pictures()
        package = self._follow_pipeline()
        return Plan(
            build=build.id,
            recipe=recipe.name,
            target=build.target.name,
            label=build.target.label,
            steps=_needed(self.steps, package),
            package=package.id,
            shipped=next(i for i in package.inputs if i.name in self._formats()),
            verdicts=tuple(self.made[key].step for key in _VERDICTS if key in self.made),
            notes=self._notes(),
            facts=build.facts,
            licences=(_ULTRALYTICS_LICENCE,) if recipe.source.family == "ultralytics" else (),
        )

    def _formats(self) -> set[str]:
        return {Format.VELA, Format.TFLITE, Format.ONNX, Format.CHECKPOINT}

    def _add_dataset(self) -> None:
        block, facts = self.build.recipe.dataset, self.build.dataset
        if block is None or facts is None:
            return
        if block.generator is not None:
            module = step_module(f"generate_{block.generator}")
            params = module.plan(self.build.generator, self.model.task or "detect")
            step = self._add("dataset", module, params, {}, {Format.DATASET: True})
            self.made["dataset"] = _output(step, "dataset")
            return
        root, params = self.build.split or (facts.root, None)
        label = block.url or block.path or ""
        source = Source(path=root, label=label, parts=self.build.dataset_parts, kind="dataset")
        self.made["dataset"] = Input(name="dataset", source=source)
        if params is not None:
            module = step_module("split_dataset")
            inputs, outputs = {"dataset": self.made["dataset"]}, {Format.DATASET: True}
            self.made["dataset"] = _output(
                self._add("split", module, params, inputs, outputs), "dataset"
            )

    def _add_source(self) -> None:
        weights, kind = self.build.recipe.source.weights, FIRST[self.build.recipe.source.family]
        if weights.url is not None:
            module = step_module("fetch_file")
            params = module.Params(url=weights.url, sha256=weights.sha256)
            step = self._add("fetch", module, params, {}, {kind: False})
            self.made[kind] = _output(step, kind)
        elif weights.random and self.build.recipe.train is None:
            module = step_module(f"initialize_{self.model.family}")
            step = self._add("initialize", module, module.plan(self.model), {}, {kind: False})
            self.made[kind] = _output(step, kind)
        elif weights.path is not None:
            path = f"{self.workspace}/{weights.path}"
            pinned = weights.sha256 or ""
            source = Source(path=path, label=weights.path, sha256=pinned, kind="model")
            self.made[kind] = Input(name=kind, source=source)

    def _add_training(self) -> None:
        module = find_step("train", self.model.family)
        if module is None:
            return
        inputs = {"dataset": self.made["dataset"]}
        start = self.made.pop(Format.CHECKPOINT, None)
        if start is not None:
            inputs["weights"] = start
            found = self.build.checkpoint
            if found is not None and found.names == self.model.classes and self._same_head(found):
                self._evaluate("start", start)
        params = module.plan(self.build.train, self.model, self.board)
        step = self._add("train", module, params, inputs, {Format.CHECKPOINT: False})
        self.made[Format.CHECKPOINT] = _output(step, Format.CHECKPOINT)

    def _same_head(self, found: Any) -> bool:
        return bool(found.task == self.model.task and found.keypoints == self.model.keypoints)

    def _add_pictures(self) -> None:
        """The calibration set, and the few pictures that conversions are compared on."""
        calibration = self.build.recipe.quantization.calibration
        if self.model.preprocessing is None:
            return
        dataset, split, facts = self.made.get("dataset"), "train", self.build.dataset
        if calibration is not None and calibration.images is not None:
            root, pattern = split_glob(calibration.images)
            source = Source(
                path=f"{self.workspace}/{root}", label=calibration.images, parts=(pattern,),
                kind="pictures",
            )  # fmt: skip
            dataset, split = Input(name="dataset", source=source), calibration.images
            places: tuple[str, ...] = (".",)
        elif calibration is not None and calibration.split is not None:
            split = calibration.split
            places = (facts.split(split) if facts else None) or ()
        else:
            places = (facts.split(split) if facts else None) or ()
        if dataset is None or not places:
            return
        self._prepare("samples", dataset, split, places, _SAMPLES, 0)
        if calibration is not None and self.model.quantization.scheme in CALIBRATED:
            self._prepare(
                "calibration", dataset, split, places, calibration.count, calibration.seed
            )

    def _prepare(
        self, stage: str, dataset: Input, split: str, places: tuple[str, ...], count: int, seed: int
    ) -> None:
        module = step_module("prepare_pictures")
        params = module.Params(
            split=module.Split(name=split, paths=places),
            count=count,
            seed=seed,
            preprocessing=self.model.preprocessing,
        )
        step = self._add(stage, module, params, {"dataset": dataset}, {Format.PICTURES: True})
        self.made[stage] = _output(step, Format.PICTURES)

    def _follow_pipeline(self) -> Step:
        current = FIRST[self.build.recipe.source.family]
        steps: list[Step] = []
        for leg in follow(self.build.target, self.build.recipe):
            for between in leg.between:
                self._convert(between, current)
                current = between.PRODUCES
            if Format.PACKAGE == leg.step.PRODUCES:
                self._evaluate(current, self.made[current])
                self._measure_rest()
            steps.append(self._convert(leg.step, current))
            current = leg.step.PRODUCES
            if current == Format.TFLITE:
                self._bind()
        return steps[-1]

    def _convert(self, module: ModuleType, current: Format) -> Step:
        """Add a step of the chain, and the measurement of what it consumes."""
        if module.PRODUCES != Format.PACKAGE:
            self._evaluate(current, self.made[current])
        settings = self._settings(module)
        params = module.plan(settings, self.model, self.board)
        inputs: dict[str, Input] = {current: self.made[current]}
        for name in getattr(module, "NEEDS", ()):
            inputs |= {
                key: item
                for key, item in self.made.items()
                if key == name
                or (name == "metrics" and key.startswith("metrics-"))
                or (name == "verdict" and key in _VERDICTS)
            }
        config = getattr(settings, "config", None)
        if config is not None:
            path = self.build.target_folder / config
            inputs["config"] = Input(name="config", source=Source(path=str(path), label=config))
        outputs = {module.PRODUCES: module.PRODUCES in TREES}
        outputs |= dict.fromkeys(getattr(module, "ALSO_PRODUCES", ()), False)
        stage = getattr(module, "STAGE", module.__name__.rsplit(".", 1)[-1].split("_")[0])
        step = self._add(stage, module, params, inputs, outputs)
        for name in outputs:
            self.made[name] = _output(step, name)
        return step

    def _settings(self, module: ModuleType) -> Any:
        block = getattr(module, "BLOCK", "")
        chosen = {"export": self.build.export, "vela": self.build.vela}.get(block)
        return chosen if chosen is not None else module.Settings()

    def _bind(self) -> None:
        """Before anything else sees the file: its accuracy, then the firmware's order."""
        self._evaluate(Format.TFLITE, self.made[Format.TFLITE])
        if self.build.contract is not None and self.model.outputs:
            step = self._convert(step_module("bind_outputs"), Format.TFLITE)
            self.made[Format.TFLITE] = _output(step, Format.TFLITE)

    def _evaluate(self, name: str, model: Input) -> None:
        recipe, facts = self.build.recipe, self.build.dataset
        kind = Format.CHECKPOINT if name == "start" else name
        module = find_step("evaluate", str(kind))
        key = f"metrics-{name}"
        places = facts.split(recipe.evaluate.split) if facts else None
        if (
            module is None or key in self.made or not recipe.evaluate.measure
            or not places or not self.model.outputs or not model_fits(self.model, facts)
        ):  # fmt: skip
            return
        params = module.Params(
            split=step_module("prepare_pictures").Split(name=recipe.evaluate.split, paths=places),
            classes=self.model.classes,
            keypoints=self.model.keypoints,
            keypoint_dims=self.model.keypoint_dims,
            sigmas=facts.sigmas if facts and self.model.keypoints else (),
            head=self.model.head,
            preprocessing=self.model.preprocessing,
            reference_kernels=kind == Format.TFLITE
            and self.model.quantization.scheme in CALIBRATED,
            task=self.model.task,
        )
        inputs = {kind: model, "dataset": self.made["dataset"]}
        step = self._add(f"evaluate-{name}", module, params, inputs, {Format.METRICS: False})
        self.made[key] = _output(step, Format.METRICS)

    def _check_fit(self) -> None:
        """What the compiler planned against what the firmware has."""
        contract = self.build.contract
        if contract is None or contract.arena_kib is None or "summary" not in self.made:
            return
        module = step_module("fit_memory")
        params = module.Params(firmware=contract.name, arena_kib=contract.arena_kib)
        inputs = {"summary": self.made["summary"]}
        step = self._add("fit", module, params, inputs, {Format.VERDICT: False})
        self.made["fits"] = _output(step, Format.VERDICT)

    def _measure_rest(self) -> None:
        """The gate, over the figures of the file that ships and of what it came from."""
        self._check_fit()
        gates = self.build.recipe.evaluate.gates
        order = ("metrics-checkpoint", "metrics-onnx", "metrics-tflite")
        measured = [self.made[key] for key in order if key in self.made]
        if not gates or not measured:
            return
        module = step_module("gate")
        thresholds = tuple(
            module.Threshold(metric=name, min=gate.min, max_drop=gate.max_drop)
            for name, gate in sorted(gates.items())
        )
        inputs = {"metrics": measured[-1], "baseline": measured[0]}
        params = module.Params(thresholds=thresholds)
        step = self._add("gate", module, params, inputs, {Format.VERDICT: False})
        self.made["verdict"] = _output(step, Format.VERDICT)

    def _add(
        self, stage: str, module: ModuleType, params: Any,
        inputs: dict[Any, Input], outputs: dict[Any, bool],
    ) -> Step:  # fmt: skip
        device = str(self.build.train.device) if stage == "train" else "auto"
        step = make_step(stage, module, params, inputs, outputs, self.build.origins, device)
        self.steps.append(step)
        return step

    def _notes(self) -> tuple[str, ...]:
        contract, notes = self.build.contract, []
        if any(step.module == "compile_vela" for step in self.steps):
            notes.append(_NPU_NOTE)
        if contract is None and self.build.recipe.firmware == "unchecked":
            notes.append(
                "Not verified: whether a firmware decodes this model (`firmware: unchecked`)."
            )
        if contract is not None and not contract.verified:
            notes += [f"Not verified: {note}" for note in contract.notes]
        if not any(key.startswith("metrics-") for key in self.made):
            notes.append("Accuracy: not measured.")
        if self.build.target.flash is not None or self.build.target.vela is not None:
            notes.append("Not verified: the model on the device itself; none was attached.")
        return tuple(notes)


def _identify(item: Input) -> list[object]:
    """What makes two inputs the same before they exist; where a file lies does not."""
    source = item.source
    given = [source.label, list(source.parts), source.sha256] if source else []
    return [item.name, item.step, item.output, given]


def _needed(steps: list[Step], last: Step) -> tuple[Step, ...]:
    """The steps that the last one rests on, in order."""
    wanted = {last.id}
    for step in reversed(steps):
        if step.id in wanted:
            wanted |= {item.step for item in step.inputs}
    return tuple({step.id: step for step in steps if step.id in wanted}.values())


def _output(step: Step, name: str) -> Input:
    return Input(name=str(name), step=step.id, output=str(name))
