"""Comparing a build's figures with those of baselines.json."""

from buildsys.report import baselines
from buildsys.report.baselines import Baselines
from buildsys.steps.lib.report.values import Artifact, Measured, Report

BUILD = "tags@host"


def report(accuracy: float, size: int) -> Report:
    """A report of one build that can be shipped."""
    measured = Measured(
        name="onnx", sha256="", split="val", pictures=1, objects=1, metrics=(("top1", accuracy),)
    )
    artifact = Artifact(
        id=BUILD,
        recipe="tags",
        target="host",
        label="tags",
        status="ready",
        detail="",
        bytes=size,
        measured=(measured,),
    )
    return Report(version="", artifacts=(artifact,))


def worse(known: Baselines, now: Report) -> list[str]:
    """The metrics that are worse than the accepted ones."""
    (artifact,) = baselines.compare(now, known).artifacts
    return [regression.metric for regression in artifact.regressions]


def test_a_change_equal_to_the_tolerance_is_tolerated() -> None:
    """At every accuracy a loss of exactly the tolerance is no regression, nor is a growth by it."""
    for percent in range(2, 101):
        known = Baselines(
            builds=((BUILD, (("bytes", 100), ("top1", percent / 100))),),
            tolerances=(("accuracy", 0.01), ("bytes", 0.29)),
        )
        after = (percent - 1) / 100
        assert worse(known, report(after, 129)) == []
        assert worse(known, report(round(after - 1e-6, 6), 130)) == ["bytes", "top1"]
