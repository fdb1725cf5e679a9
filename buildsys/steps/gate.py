"""Compare measured accuracy with the recipe's thresholds; a new threshold measures nothing again."""

import json
from dataclasses import dataclass
from pathlib import Path

from buildsys.spec import METRICS, Format, StepSpec
from buildsys.steps.lib.metrics.limits import decimals, exceeds

STEP = StepSpec(
    consumes=(Format.METRICS,),
    produces=Format.VERDICT,
)


@dataclass(frozen=True, kw_only=True)
class Threshold:
    """One line of `evaluate.gates`: a metric's minimum, or its largest allowed drop, both absolute."""

    metric: str
    min: float | None
    max_drop: float | None


@dataclass(frozen=True, kw_only=True)
class Params:
    """The thresholds, sorted by metric."""

    thresholds: tuple[Threshold, ...]


def run(inputs: dict[str, Path], outputs: dict[str, Path], params: Params) -> None:
    """Judge. `inputs`: metrics of the shipped file; baseline, those of the checkpoint or the source
    file.
    """
    measured = json.loads(inputs["metrics"].read_text())["metrics"]
    baseline = json.loads(inputs["baseline"].read_text())["metrics"]
    failures = []
    for gate in params.thresholds:
        value = measured.get(gate.metric)
        if value is None:
            failures.append(_unmeasured(gate.metric, measured))
            continue
        failures += _exceeded(gate, value, baseline)
    figures = {
        gate.metric: {"value": measured[gate.metric], "baseline": baseline.get(gate.metric)}
        for gate in params.thresholds
        if measured.get(gate.metric) is not None
    }  # without the thresholds, so that a new threshold that is met changes no later artifact
    verdict = {"passed": not failures, "failures": failures, "figures": figures}
    outputs["verdict"].write_text(json.dumps(verdict, indent=1) + "\n", encoding="utf-8")


def _exceeded(gate: Threshold, value: float, baseline: dict[str, float]) -> list[str]:
    """Return a sentence for each limit of a threshold that a value exceeds."""
    found = []
    if gate.min is not None and exceeds(gate.min - value, 0.0):
        shown = f"{value:.{decimals(value, gate.min)}f}"
        found.append(f"{gate.metric} is {shown}, below {gate.min:g}")
    if gate.max_drop is not None and exceeds(baseline[gate.metric] - value, gate.max_drop):
        before = baseline[gate.metric]
        drop = before - value
        digits = decimals(drop, gate.max_drop)
        found.append(
            f"{gate.metric} fell by {drop:.{digits}f} ({before:.{digits}f} to {value:.{digits}f}),"
            f" at most {gate.max_drop:g} is allowed"
        )
    return found


def _unmeasured(metric: str, measured: dict[str, float | None]) -> str:
    """Return why a metric has no value: the split has nothing to measure it on, or it is
    not known at all.
    """
    if metric in measured:
        what = "labelled keypoints" if metric.startswith("keypoints.") else "objects"
        whose = "" if any(metric in names for names in METRICS.values()) else " of this class"
        return f"{metric} was not measured: the split has no {what}{whose}"
    known = ", ".join(sorted(measured))
    return f"{metric} was not measured (there are {known})"
