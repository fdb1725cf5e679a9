"""A report of engines with invented figures, to view and to test."""

import dataclasses

from buildsys.report.vendor_figures import read_published
from buildsys.steps.lib.metrics.latency import END_TO_END, ENGINE_ONLY
from buildsys.steps.lib.report.values import Artifact, EngineFacts, Latency, Measured, Report
from tests.report.report_sample import sha

GPU = "NVIDIA A100-SXM4-40GB, Example CPU 3.0 GHz (x86_64)"
WAITING = "waiting for TensorRT 10.3, compute capability 8.7"
_SCHEMES = ("float32", "float16", "int8")
_SHARES = {"float32": 1.0, "float16": 0.6, "int8": 0.5}
_METRICS = {"detect": ("box",), "pose": ("box", "keypoints"), "segment": ("box", "masks")}


def facts(task: str, scheme: str, library: str = "tensorrt", **other: object) -> EngineFacts:
    """Facts of an engine for 640 pixels; one network per task."""
    known: dict[str, object] = {
        "version": "11.4",
        "compute_capability": "8.0",
        "batch": (1, 1, 1),
        "source_bytes": int(12_400_000 * _SHARES[scheme]),
    }
    return EngineFacts(
        library=library,
        task=task,
        scheme=scheme,
        height=640,
        width=640,
        network=sha(task),
        **known | other,  # type: ignore[arg-type]
    )


def times(scheme: str, file: str, batch: int, label: str = "measured here") -> tuple[Latency, ...]:
    """Latency of the engine only, and with the copies."""
    mean = 1.2 * _SHARES[scheme] * batch
    known = {
        "label": label,
        "engine": "tensorrt",
        "device": GPU,
        "runs": 50,
        "warmup": 5,
        "sha256": sha(file),
        "format": "engine",
        "version": "11.4.0.15",
        "batch": batch,
    }
    return (
        Latency(what=ENGINE_ONLY, mean_ms=mean, min_ms=mean - 0.1, max_ms=mean + 0.3, **known),  # type: ignore[arg-type]
        Latency(what=END_TO_END, mean_ms=mean * 2, min_ms=mean, max_ms=mean * 3, **known),  # type: ignore[arg-type]
    )


def measured(task: str, name: str, scheme: str) -> Measured:
    """Accuracy of one file, slightly lower for smaller types."""
    score = 0.9 - (1 - _SHARES[scheme]) / 50
    names = [f"{kind}.{figure}" for kind in _METRICS[task] for figure in ("mAP50", "mAP50-95")]
    return Measured(
        name=name,
        sha256=sha(f"{name}{task}{scheme}"),
        split="val",
        pictures=300,
        objects=541,
        metrics=tuple((n, score) for n in names),
    )


def ready(task: str, scheme: str) -> Artifact:
    """An engine that was built, timed and evaluated on a GPU."""
    name, source = f"{task}-{scheme}", "onnx" if scheme == "float32" else "quantized-onnx"
    return Artifact(
        id=f"{name}@nvidia-a100",
        recipe=task,
        target="nvidia-a100",
        label="NVIDIA A100 (TensorRT 11.4)",
        status="ready",
        detail="",
        file=f"{name}.engine",
        bytes=int(14_000_000 * _SHARES[scheme]),
        sha256=sha(name),
        engine=facts(task, scheme, batch=(1, 4, 8)),
        measured=(measured(task, source, scheme), measured(task, "engine", scheme)),
        latency=(*times(scheme, name, 1), *times(scheme, name, 8)),
    )


def waiting(scheme: str) -> Artifact:
    """An engine that waits for a machine; its ONNX file and that file's accuracy exist."""
    source = "quantized-onnx" if scheme == "int8" else "onnx"
    return Artifact(
        id=f"detect-{scheme}@jetson-orin",
        recipe="detect",
        target="jetson-orin",
        label="NVIDIA Jetson Orin (JetPack 6.2, TensorRT 10.3)",
        status="waiting",
        detail=WAITING,
        engine=facts("detect", scheme, version="10.3", compute_capability="8.7"),
        measured=(measured("detect", source, scheme),),
    )


def lowered(scheme: str) -> Artifact:
    """An engine whose precision TensorRT lowers while building: only the float32 file can be
    evaluated.
    """
    of_file = facts("detect", "float32", version="10.3", compute_capability="8.7")
    return dataclasses.replace(
        waiting(scheme),
        engine=dataclasses.replace(of_file, scheme=scheme, lowered=True),
        measured=(measured("detect", "onnx", "float32"),),
    )


def unmeasured() -> Artifact:
    """An engine of TensorRT-RTX, built ahead of time and not measured."""
    return Artifact(
        id="detect-int8@nvidia-rtx-aot",
        recipe="detect",
        target="nvidia-rtx-aot",
        label="NVIDIA RTX GPUs (TensorRT-RTX, built ahead of time)",
        status="ready",
        detail="",
        file="detect-int8.engine",
        bytes=5_100_000,
        sha256=sha("rtx"),
        engine=facts("detect", "int8", "tensorrt-rtx", version="1.7", compute_capability=""),
        measured=(measured("detect", "quantized-onnx", "int8"),),
    )


def engines_report() -> Report:
    """A report with every kind of row."""
    found = [ready(task, scheme) for task in ("detect", "pose") for scheme in _SCHEMES]
    found += [waiting("float32"), lowered("float16"), waiting("int8")]
    artifacts = tuple(sorted((*found, unmeasured()), key=lambda item: item.id))
    return Report(version="0.1.0", artifacts=artifacts, published=read_published())
