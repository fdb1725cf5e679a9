"""Builds of several recipes timed together."""

import dataclasses
import json
from collections.abc import Callable
from functools import partial
from pathlib import Path

from buildsys.execution.places import Workspace
from buildsys.report.comparisons import comparison_file, read_comparisons
from buildsys.steps import compare_latency
from buildsys.steps.lib.report.proof_values import Measured
from buildsys.steps.lib.report.values import Artifact


def test_turns_are_taken_in_rounds() -> None:
    """The first file is timed on an idle machine, the last on a hot one."""
    calls: list[str] = []
    inferences: list[Callable[[], object]] = [partial(calls.append, name) for name in "abc"]
    times = compare_latency.take_turns(inferences, runs=2, warmup=1)
    assert "".join(calls) == "abcabcabc"
    assert [len(own) for own in times] == [2, 2, 2]


def test_accuracy_is_that_of_the_same_file(tmp_path: Path) -> None:
    """The table gives the fast file the accuracy of the slow one, or of what shipped before."""
    root = Workspace(tmp_path)
    place = comparison_file(root, ["a@host", "gone@host"])
    place.parent.mkdir(parents=True)
    row = {
        "builds": ["a@host"],
        "format": "tflite",
        "scheme": "int8",
        "converter": "onnx2tf",
        "engine": "litert",
        "bytes": 9,
        "operators": 2,
        "transposes": 1,
        "mean_ms": 2.0,
        "min_ms": 1.9,
        "p50_ms": 2.0,
        "ratio": 1.0,
        "sha256": "new",
    }
    rows = [row, {**row, "format": "onnx", "sha256": "source"}, {**row, "builds": ["gone@host"]}]
    data = {"label": "measured here", "device": "a CPU", "threads": 1, "runs": 3, "warmup": 1}
    place.write_text(json.dumps({**data, "rows": rows}))
    measured = tuple(
        Measured(
            name=name,
            sha256=sha256,
            split="val",
            pictures=3,
            objects=4,
            metrics=(("box.mAP50-95", value), ("box.mAP50", 0.9)),
        )
        for name, sha256, value in (("tflite", "new", 0.5), ("onnx", "source", 0.6))
    )
    plain = Artifact(
        id="a@host",
        recipe="a",
        target="host",
        label="",
        status="ready",
        detail="",
        file="a.tflite",
        sha256="new",
        measured=measured,
    )
    (found,) = read_comparisons(root, [plain])
    assert [row.metrics for row in found.rows] == [
        (("box.mAP50-95", 0.5),),
        (("box.mAP50-95", 0.6),),
        (),
    ]
    assert [row.earlier for row in found.rows] == [False, False, True]
    other = dataclasses.replace(plain, id="b@host", sha256="other")
    place.write_text(
        json.dumps({**data, "rows": [*rows, {**row, "builds": ["b@host"], "sha256": "other"}]})
    )
    (found,) = read_comparisons(root, [dataclasses.replace(plain, sha256="newer"), other])
    assert [row.earlier for row in found.rows] == [True, True, True, False]
    replaced = [
        dataclasses.replace(plain, sha256="newer"),
        dataclasses.replace(other, sha256="newest"),
    ]
    assert read_comparisons(root, replaced) == (), "no file of it ships any more"
    place.write_text("{")
    assert read_comparisons(root, [plain]) == ()
