"""A report with one of everything and invented figures, to view and to test."""

import hashlib

from buildsys.steps.lib.report.values import (
    Artifact,
    Budget,
    Comparison,
    Failure,
    ImageComparison,
    Ladder,
    Latency,
    Measured,
    Output,
    Regression,
    Report,
    Rung,
    StepLine,
    Timed,
    View,
)
from tests.report.training_sample import CURVES, TRAINING, training

DRAWINGS = hashlib.sha256(b"drawings").hexdigest()


def sha(text: str) -> str:
    """An invented digest."""
    return hashlib.sha256(text.encode()).hexdigest()


def measured(name: str, box: float, keypoints: float, kinds: tuple[str, ...] = ()) -> Measured:
    """Accuracy of one file of the pose network."""
    rows = [
        ("box.mAP50", min(0.999, box + 0.04)),
        ("box.mAP50-95", box),
        ("keypoints.mAP50", min(0.999, keypoints + 0.1)),
        ("keypoints.mAP50-95", keypoints),
    ]
    rows += [(f"box.mAP50-95.{kind}", box - 0.01 * i) for i, kind in enumerate(kinds)]
    return Measured(
        name=name,
        sha256=sha(name),
        split="val",
        pictures=300,
        objects=541,
        metrics=tuple(rows),
        without_objects=("bolt",) if kinds else (),
        kernels="reference, as TFLite Micro's" if name == "tflite" else "",
        sigmas=(0.25,) * 4,
        sigmas_source="Ultralytics' default, 1/4",
    )


def output(name: str, kind: str, figure: str, value: float, limit: float | None) -> Output:
    """One output of a rung."""
    passed = None if limit is None else value >= limit if "signal" in figure else value <= limit
    return Output(name=name, kind=kind, figure=figure, value=value, limit=limit, passed=passed)


def rung(start: str, end: str, *outputs: Output, seen: tuple[tuple[str, str], ...] = ()) -> Rung:
    """A rung, red if one of its outputs is red."""
    judged = [item.passed for item in outputs if item.passed is not None]
    return Rung(
        start=start,
        end=end,
        passed=all(judged) if judged else None,
        outputs=outputs,
        detections=seen,
    )


def ladder(green: bool) -> Ladder:
    """A ladder with all rungs; one in the middle is red unless `green`."""
    noise = "signal to noise, dB"
    rungs = (
        rung(
            "checkpoint",
            "onnx",
            output("box_s8", "box", "largest difference", 3.1e-05, 1e-3),
            output("keypoints", "keypoint", "largest difference", 1.2e-04, 1e-3),
        ),
        rung("onnx", "float-tflite", output("box_s8", "box", "largest difference", 4.8e-06, 1e-3)),
        rung(
            "float-tflite",
            "tflite",
            output("box_s8", "box", noise, 24.1 if green else 4.2, 10.0),
            output("cls_s8", "score", "mean difference of probability", 0.0021, 0.02),
            output("keypoints", "keypoint", noise, 31.7, 20.0),
            seen=(("matched", "5 of 5"), ("IoU, mean", "0.961"), ("keypoints, px", "0.42")),
        ),
        rung(
            "tflite",
            "tflm",
            output("box_s8", "box", "largest difference, steps", 1, 2),
            output("keypoints", "keypoint", "largest difference, steps", 1, 2),
        ),
        rung("tflm", "sscma-1.0-pose", output("boxes", "box", "largest difference", 0.5, 1.0)),
    )
    failures = (
        ()
        if green
        else ("box_s8 of tflite has 4.2 dB of signal against float-tflite, 10 are needed",)
    )
    return Ladder(
        passed=green,
        pictures=20,
        rungs=rungs,
        first_failing="" if green else "float-tflite → tflite",
        failures=failures,
    )


def latencies(file: str) -> tuple[Latency, ...]:
    """Latencies with each label, and one of a file that no longer exists."""
    plain = {"what": "engine only", "threads": 1, "runs": 50, "warmup": 5}
    spread = {"min_ms": 8.71, "max_ms": 14.2, "p50_ms": 9.02, "p90_ms": 10.4, "p99_ms": 13.9}
    return (
        Latency(
            label="estimated",
            engine="vela",
            device="ethos-u55-64",
            mean_ms=73.757,
            sha256=sha(file),
            what="engine only",
        ),
        Latency(
            label="measured here",
            engine="litert",
            device="Example CPU 3.0 GHz",
            mean_ms=9.31,
            sha256=sha("tflite"),
            format="tflite",
            **plain,  # type: ignore[arg-type]
            **spread,  # type: ignore[arg-type]
        ),
        Latency(
            label="measured on a device",
            engine="litert",
            device="Raspberry Pi 5",
            mean_ms=31.2,
            sha256=sha("before"),
            format="tflite",
            earlier=True,
            **plain,  # type: ignore[arg-type]
        ),
    )


FORMS = ("checkpoint", "onnx", "tflite")
VIEWS = ("labels", *FORMS)


def image_comparison(number: int) -> ImageComparison:
    """An image with its labels and the detections of three files; the last misses a class."""
    scores = {
        "labels": (None, None),
        "checkpoint": (0.9312, 0.4121),
        "onnx": (0.9311, 0.412),
        "tflite": (0.902, None),
    }
    views = tuple(
        View(
            form=form,
            drawing=f"{number}-{form}.jpg",
            objects=number,
            best=tuple((n, s) for n, s in zip(("tag", "plate"), scores[form], strict=True) if s),
        )
        for form in VIEWS
    )
    return ImageComparison(name=f"images/val/{number:05}.jpg", views=views)


def grove() -> Artifact:
    """A build with all evidence."""
    names = ("box_s8", "keypoints")
    del names
    return Artifact(
        id="tags@grove-vision-ai-v2",
        recipe="tags",
        target="grove-vision-ai-v2",
        label="Seeed Grove Vision AI V2 (Himax WE2, Ethos-U55-64)",
        status="ready",
        detail="",
        file="tags_vela.tflite",
        bytes=2679232,
        sha256=sha("vela"),
        manifest_sha256=sha("manifest"),
        measured=(
            measured("checkpoint", 0.962896, 0.860954, ("tag", "plate")),
            measured("onnx", 0.962896, 0.860954, ("tag", "plate")),
            measured("tflite", 0.960159, 0.853018, ("tag", "plate")),
        ),
        latency=latencies("vela"),
        budgets=(
            Budget(name="arena", need_bytes=299792, has_bytes=1110 * 1024, by="vela"),
            Budget(name="flash", need_bytes=2679232, has_bytes=3 * 1024 * 1024),
        ),
        ladder=ladder(True),
        load=(
            ("Holds", "yes"),
            ("Arena used, bytes", "302,144"),
            ("Package of that firmware", "mlia-ethos-u 0.1.0"),
        ),
        contract=(("Holds", "yes"), ("Contract", "sscma-1.0-pose")),
        overlap=(("Calibration images among the measured ones", "0"),),
        unverified=("Not verified: the model on the device itself; none was attached.",),
        licences=("Trained with Example (AGPL-3.0).",),
        calibration=tuple(f"images/train/{i:05}.jpg" for i in range(100)),
        calibration_sha256=sha("calibration"),
        steps=(
            StepLine(
                stage="export",
                module="export_ultralytics",
                tool="ultralytics 8.4.190",
                action_key=sha("export"),
            ),
            StepLine(
                stage="compile", module="compile_vela", tool="vela 4.5.0", action_key=sha("compile")
            ),
        ),
        drawings=DRAWINGS,
        training=TRAINING,
        curves=tuple(CURVES.items()),
        sights=tuple(image_comparison(k) for k in (1, 2)),
        sight_files=tuple((form, sha(form)) for form in FORMS),
        baseline=True,
    )


def comparison() -> Comparison:
    """A comparison with a file with accuracy, one that two builds share, and one that no longer
    exists.
    """
    rows = (
        Timed(
            builds=("tags@xiao-esp32s3",),
            format="tflite",
            scheme="int8",
            converter="onnx2tf",
            engine="litert",
            sha256=sha("tflite"),
            bytes=3166688,
            operators=214,
            transposes=0,
            batch=1,
            mean_ms=9.4,
            min_ms=9.1,
            p50_ms=9.3,
            ratio=1.0,
            metrics=(("box.mAP50-95", 0.9312), ("keypoints.mAP50-95", 0.8122)),
            images=300,
        ),
        Timed(
            builds=("tags@grove-vision-ai-v2", "tags@xiao-esp32s3"),
            format="onnx",
            scheme="",
            converter="",
            engine="onnxruntime",
            sha256=sha("onnx"),
            bytes=12400000,
            operators=187,
            transposes=9,
            batch=4,
            mean_ms=75.6,
            min_ms=72.8,
            p50_ms=75.2,
            ratio=2.011,
        ),
        Timed(
            builds=("cells@host",),
            format="tflite",
            scheme="float16",
            converter="onnx-tf",
            engine="litert",
            sha256=sha("before"),
            bytes=2000000,
            operators=605,
            transposes=218,
            batch=1,
            mean_ms=111.2,
            min_ms=109.0,
            p50_ms=110.1,
            ratio=11.83,
            earlier=True,
        ),
    )
    return Comparison(
        label="measured here", device="Example CPU 3.0 GHz", threads=1, runs=10, warmup=3, rows=rows
    )


FAILURE = Failure(
    stage="convert",
    message="convert (convert_onnx2tf) failed: exit code 1\n    no TFLite operator does Einsum\n"
    "    log: /workspace/.buildsys/logs/0a1b.log\n    to repeat: cd /workspace",
    log=("Model optimizing started", "ERROR: no TFLite operator does Einsum"),
)
"""The digest that two builds share."""


DIFFERS = (
    "training of tags: buildsys.lock records the network 9f2c4a1be07d (on cpu, torch 2.13.0+cpu),"
    " and 3b1d55e08c42 was trained here"
)


def sample() -> Report:
    """A report with each status once."""
    xiao = Artifact(
        id="tags@xiao-esp32s3",
        recipe="tags",
        target="xiao-esp32s3",
        label="Seeed XIAO ESP32S3",
        status="ready",
        detail="",
        differs=(DIFFERS,),
        file="tags.tflite",
        bytes=3166688,
        sha256=sha("tflite"),
        measured=(measured("checkpoint", 0.962896, 0.860954), measured("tflite", 0.9312, 0.8122)),
        latency=latencies("tflite")[1:2],
        ladder=None,
        baseline=True,
        regressions=(
            Regression(metric="box.mAP50-95", now=0.9312, then=0.9601, tolerance=0.002),
            Regression(metric="bytes", now=3166688.0, then=3000000.0, tolerance=30000.0),
        ),
    )
    red = Artifact(
        id="tags@host",
        recipe="tags",
        target="host",
        label="This machine",
        status="rejected",
        detail="rejected by gate: box.mAP50-95 is 0.3102, below 0.9",
        file="tags.tflite",
        bytes=3166900,
        sha256=sha("red"),
        measured=(measured("checkpoint", 0.962896, 0.860954), measured("tflite", 0.3102, 0.51)),
        reasons=("box.mAP50-95 is 0.3102, below 0.9",),
        ladder=ladder(False),
    )
    rest = [
        ("cells@host", "failed", "failed at convert"),
        ("cells@grove", "blocked", "blocked by cells@host"),
        ("people@host", "waiting", "waiting for weights/people.pt"),
        ("old@host", "stale", "stale"),
        ("typo", "broken", "recipes/typo.yaml:2:1: error: unknown key `sorce`"),
    ]
    rows = [
        Artifact(
            id=name,
            recipe=name.partition("@")[0],
            target=name.partition("@")[2],
            label="",
            status=status,
            detail=detail,
            failure=FAILURE if status in ("failed", "blocked") else None,
        )
        for name, status, detail in rest
    ]
    artifacts = tuple(sorted((grove(), xiao, red, *rows), key=lambda item: item.id))
    mistake = "recipes/typo.yaml:2:1: error: unknown key `sorce`\n    sorce: {}\n    ^^^^^"
    return Report(
        version="0.1.0",
        artifacts=artifacts,
        mistakes=(mistake,),
        comparisons=(comparison(),),
        trainings=(training(grove().measured[0], ("tags@grove-vision-ai-v2",)),),
    )
