"""The table of engines: measured figures with their file, waiting engines, published figures."""

import dataclasses
from collections.abc import Callable
from pathlib import Path

import pytest

from buildsys.report import baselines, evidence
from buildsys.report.vendor_figures import read_published
from buildsys.steps.lib.metrics.latency import END_TO_END
from buildsys.steps.lib.report import charts, engine_table, formatting, markdown, values
from buildsys.steps.lib.report.engine_table import Group, Row, groups
from buildsys.steps.lib.report.values import Artifact, Report
from tests.authoring import golden
from tests.report.engine_sample import (
    WAITING,
    engines_report,
    lowered,
    measured,
    ready,
    times,
    unmeasured,
    waiting,
)


def report(*artifacts: Artifact) -> Report:
    """A report with only these builds."""
    return Report(version="1", artifacts=artifacts, published=read_published())


def only(*artifacts: Artifact) -> Group:
    """The group of the only device."""
    (found,) = groups(report(*artifacts))
    return found


def row(group: Group, scheme: str, batch: int = 0) -> Row:
    """One row of a device's table."""
    return next(r for r in group.rows if (r.facts.scheme, r.batch) == (scheme, batch))


def test_it_reads_like_this() -> None:
    """The table equals the golden file."""
    golden.compare(markdown.render(engines_report()), Path(__file__).with_name("engines"), ())


def test_a_ratio_is_of_the_same_network_batch_and_machine() -> None:
    """Ratios compare only the same network, batch and machine."""
    slow = ready("detect", "float32")
    other = dataclasses.replace(ready("pose", "float32"), latency=times("int8", "pose-float32", 1))
    group = only(slow, other, ready("detect", "int8"))
    for batch in (1, 8):
        found = row(group, "int8", batch).ratios
        assert found is not None
        assert found.latency == pytest.approx(0.5)
        assert found.size == pytest.approx(0.5)
        assert dict(found.metrics) == {"box.mAP50-95": pytest.approx(-0.01)}
    assert row(group, "float32", 8).ratios is None


def test_without_its_float32_there_is_no_ratio() -> None:
    """Without a float32 engine there is no ratio."""
    assert row(only(ready("detect", "int8")), "int8", 1).ratios is None


def test_accuracy_is_of_the_engine_where_it_was_measured() -> None:
    """Accuracy states its file; an engine's is not compared with an ONNX file's."""
    here, there = ready("detect", "int8"), ready("detect", "float32")
    unmeasured_one = dataclasses.replace(there, measured=(measured("detect", "onnx", "float32"),))
    found = row(only(here, unmeasured_one), "int8", 8)
    assert found.measured is not None
    assert found.measured.name == "engine"
    assert found.ratios is not None
    assert found.ratios.metrics == ()
    aot = row(only(unmeasured()), "int8")
    assert aot.measured is not None
    assert aot.measured.name == "quantized-onnx"


def test_who_waits_shows_its_onnx_file() -> None:
    """A waiting engine's row shows its ONNX file."""
    found = row(only(waiting("float32"), waiting("int8")), "int8")
    assert engine_table.standing(found) == WAITING
    assert (found.file, found.bytes) == ("ONNX", 6_200_000)
    assert found.ratios is not None
    assert found.ratios.size == pytest.approx(0.5)


def test_an_engine_and_an_onnx_file_have_no_ratio_of_sizes() -> None:
    """Sizes of an engine and an ONNX file have no ratio."""
    built = dataclasses.replace(waiting("int8"), file="detect-int8.engine", bytes=5, status="ready")
    found = row(only(waiting("float32"), built), "int8").ratios
    assert found is not None
    assert found.size is None


def test_a_float_file_does_not_speak_for_an_engine_of_int8() -> None:
    """The float file's accuracy is not shown for an int8 engine that TensorRT calibrates."""
    item = lowered("int8")
    found = row(only(waiting("float32"), item), "int8")
    assert found.ratios == engine_table.Ratios()
    assert engine_table.source(found) == "float32 ONNX file"
    assert formatting.unmeasured(item) == "; int8 was not measured"
    told = markdown.render(report(waiting("float32"), item))
    assert "the float32 ONNX file; int8 was not measured" in told
    engine = dataclasses.replace(
        item, measured=(*item.measured, measured("detect", "engine", "int8"))
    )
    assert formatting.unmeasured(engine) == ""


def test_float32_is_compared_with_no_float32() -> None:
    """float32 rows have no ratio to another float32 engine."""
    other = dataclasses.replace(waiting("float32"), id="detect-float32@orin-qdq")
    assert {row.ratios for row in only(waiting("float32"), other).rows} == {None}


def test_published_figures_are_of_tasks_that_are_here() -> None:
    """Published figures are shown only for tasks that the report has."""
    found = only(ready("pose", "int8")).published
    assert found is not None
    assert {row.task for row in found.rows} == {"pose"}
    assert engine_table.others(report(ready("pose", "int8"))) == ()


def test_figures_of_an_engine_that_is_not_here_are_marked() -> None:
    """Imported figures of an engine that is not here are shown with its digest, never as the
    published engine's.
    """
    entries = tuple(
        dataclasses.replace(entry, earlier=True) for entry in times("int8", "elsewhere", 1)
    )
    found = row(only(dataclasses.replace(waiting("int8"), latency=entries)), "int8", 1)
    assert found.timed is not None
    assert found.timed.earlier
    assert "of an engine that is not here" in markdown.render(
        report(dataclasses.replace(waiting("int8"), latency=entries))
    )
    gone = dataclasses.replace(ready("detect", "int8"), latency=entries)
    assert row(only(gone), "int8").timed is None


@pytest.mark.parametrize(
    ("build", "device"),
    [
        (lambda: ready("pose", "int8"), "NVIDIA A100"),
        (lambda: waiting("int8"), "NVIDIA Jetson Orin NX 16 GB"),
        (unmeasured, None),
    ],
)
def test_published_figures_are_beside_their_own_device(
    build: Callable[[], Artifact], device: str | None
) -> None:
    """Published figures are shown for their own device, and not for TensorRT-RTX."""
    found = only(build())
    assert (found.published.device if found.published else None) == device


def test_published_figures_have_a_source_and_all_tasks() -> None:
    """Published figures have a source and cover all tasks."""
    known = read_published()
    assert known.page.startswith("https://")
    assert len(known.commit) == 40
    names = [device.device for device in known.devices]
    assert len(set(names)) == len(names) == 5
    a100 = known.devices[0]
    assert {(row.task, row.scheme) for row in a100.rows} == {
        (task, scheme)
        for task in ("detect", "segment", "classify", "pose", "obb")
        for scheme in ("float32", "float16", "int8")
    }
    int8 = next(r for r in a100.rows if (r.task, r.scheme) == ("detect", "int8"))
    found = engine_table.published_ratios(int8, a100)
    assert found.latency == pytest.approx(0.28 / 0.52)
    assert dict(found.metrics) == {"box.mAP50-95": pytest.approx(-0.04)}


def test_the_index_shows_the_engine_alone() -> None:
    """The index shows only the engine's latency at the smallest batch."""
    entries = formatting.of_label(ready("detect", "int8"), "measured here")
    assert [(entry.batch, entry.what) for entry in entries] == [(1, "engine only")]


def test_times_of_an_unknown_batch_have_no_ratio() -> None:
    """trtexec's times of an engine with a dynamic batch belong to an unknown batch."""

    def timed(scheme: str, batch: tuple[int, ...]) -> Artifact:
        item = ready("detect", scheme)
        assert item.engine is not None
        latency = tuple(dataclasses.replace(e, batch=0) for e in item.latency)
        engine = dataclasses.replace(item.engine, batch=batch)
        return dataclasses.replace(item, latency=latency, engine=engine)

    found = row(only(timed("float32", (1, 4, 8)), timed("int8", (1, 4, 8))), "int8")
    assert found.ratios is not None
    assert found.ratios.latency is None
    assert engine_table.batch(found) == "unknown (1 to 8)"
    fixed = row(only(timed("float32", (4, 4, 4)), timed("int8", (4, 4, 4))), "int8")
    assert fixed.ratios is not None
    assert fixed.ratios.latency == pytest.approx(0.5)
    assert engine_table.batch(fixed) == "4"


def test_an_unknown_batch_is_named_and_not_in_a_chart(tmp_path: Path) -> None:
    """A time of an unknown batch is not shown where one of a known batch is, has no point in a
    chart per image, and is marked on every page; an engine's only batch counts as known.
    """

    def timed(scheme: str, batch: tuple[int, ...], **changes: int) -> Artifact:
        item = ready("detect", scheme)
        assert item.engine is not None
        alone = next(e for e in item.latency if e.what != END_TO_END)
        latency = (dataclasses.replace(alone, batch=0), *item.latency)[: changes.get("most", 9)]
        engine = dataclasses.replace(item.engine, batch=batch)
        return dataclasses.replace(item, latency=latency, engine=engine)

    (entry,) = formatting.of_label(timed("int8", (1, 4, 8)), "measured here")
    assert entry.batch == 1
    unknown = timed("int8", (1, 4, 8), most=1)
    (entry,) = formatting.of_label(unknown, "measured here")
    assert formatting.machine(entry).split(", ")[-2:] == ["batch unknown", "50 runs"]
    (entry,) = formatting.of_label(timed("int8", (4, 4, 4), most=1), "measured here")
    assert formatting.batch(entry) == "batch 4"
    both = [dataclasses.replace(timed(s, (1, 4, 8), most=1), bytes=0) for s in ("float32", "int8")]
    assert charts.draw(report(*both), tmp_path) == ()
    assert "batch unknown" in markdown.render(report(*both))


def test_a_latency_of_another_file_names_the_file() -> None:
    """Where only the ONNX file before the engine was timed, the figure says so."""
    item = unmeasured()
    common = {"label": "measured here", "engine": "onnxruntime", "mean_ms": 4.32}
    files = {"onnx": "05dbf709", "quantized-onnx": "de4c4f65", "engine": item.sha256}
    rows = [{**common, "format": name, "sha256": sha256} for name, sha256 in files.items()]
    latency = evidence.read_latency({"entries": rows}, frozenset(files.values()))
    found = {entry.format: formatting.other_file(item, entry) for entry in latency}
    assert found == {
        "onnx": "float32 ONNX file",
        "quantized-onnx": "quantized ONNX file",
        "engine": "",
    }
    timed = dataclasses.replace(item, latency=latency[:1])
    text = markdown.render(report(timed))
    assert "4.32 (onnxruntime, float32 ONNX file `05dbf709`)" in text


def test_what_a_baseline_holds_is_what_every_machine_measures() -> None:
    """The baseline holds the ONNX file's accuracy, which every machine measures."""
    item = ready("detect", "int8")
    worse = dataclasses.replace(
        item,
        measured=(
            item.measured[0],
            dataclasses.replace(item.measured[1], metrics=(("box.mAP50-95", 0.1),)),
        ),
    )
    known = baselines.accept(baselines.Baselines(), report(item), [item.id])
    (found,) = baselines.compare(report(worse), known).artifacts
    assert found.regressions == ()


def test_a_report_without_engines_says_nothing_of_them() -> None:
    """A report without engines has no table of engines."""
    none = Report(version="1", artifacts=())
    assert "Engines" not in markdown.render(none)
    assert groups(none) == ()
    assert engine_table.others(none) == ()


def test_the_data_come_back_as_they_were(tmp_path: Path) -> None:
    """The data that the core writes is read back unchanged."""
    values.save(tmp_path / "report.json", engines_report())
    assert values.load(tmp_path / "report.json") == engines_report()


def test_latency_keeps_its_batch_and_its_order() -> None:
    """Latency keeps batch and order from latency.json."""
    rows = [
        {
            "label": "measured here",
            "engine": "tensorrt",
            "mean_ms": 2.0,
            "sha256": "a",
            "batch": batch,
            "what": what,
            "format": "engine",
        }
        for batch in (8, 1)
        for what in ("engine only", "end to end")
    ]
    found = evidence.read_latency({"entries": rows}, frozenset("a"))
    assert [(entry.batch, entry.what) for entry in found] == [
        (1, "end to end"),
        (1, "engine only"),
        (8, "end to end"),
        (8, "engine only"),
    ]
