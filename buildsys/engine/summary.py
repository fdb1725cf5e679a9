"""What a run came to: build/summary.json and the table at its end."""

import contextlib
import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from buildsys.engine.console import duration
from buildsys.engine.faults import writing
from buildsys.engine.places import Workspace
from buildsys.engine.publish import build_folder


@dataclass(frozen=True, kw_only=True)
class Row:
    """One build: status built / restored / up-to-date / failed at STEP / blocked by ID /
    waiting for WHAT / rejected by GATE / interrupted (at STEP) / not finished, and the seconds that
    this run spent on its steps.
    """

    id: str
    status: str
    seconds: float


def write_summary(workspace: Workspace, rows: list[Row]) -> None:
    """build/summary.json. Raises CannotWrite."""
    path = workspace.build / "summary.json"
    text = json.dumps({"builds": [asdict(row) for row in rows]}, indent=1) + "\n"
    temporary = path.with_name(f".summary.{os.getpid()}")
    with writing("build/summary.json", workspace.build, len(text)):
        try:
            workspace.build.mkdir(parents=True, exist_ok=True)
            temporary.write_text(text, encoding="utf-8")
            temporary.replace(path)
        finally:
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)


def render_table(workspace: Workspace, rows: list[Row]) -> str:
    """The table: status, time, size, memory, accuracy as far as the packages tell."""
    header = ("build", "status", "time", "file", "KiB", "SRAM KiB", "box mAP50-95", "kpt mAP50-95")
    lines = [header, *(_cells(workspace, row) for row in rows)]
    used = [i for i in range(len(header)) if i < 3 or any(line[i] for line in lines[1:])]
    widths = [max(len(line[i]) for line in lines) for i in range(len(header))]
    text = ["  ".join(line[i].ljust(widths[i]) for i in used).rstrip() for line in lines]
    text.insert(1, "  ".join("-" * widths[i] for i in used))
    return "\n".join(text)


def _cells(workspace: Workspace, row: Row) -> tuple[str, ...]:
    spent = duration(row.seconds) if row.seconds else ""
    blank = (row.id, row.status, spent, "", "", "", "", "")
    if row.status not in ("built", "restored", "up-to-date"):
        return blank
    folder = build_folder(workspace, row.id)
    manifest = _read(folder / "manifest.json")
    models = [
        (name, entry["bytes"])
        for name, entry in manifest.get("files", {}).items()
        if Path(name).suffix in (".tflite", ".onnx", ".pt")
    ]
    if not models:
        return blank
    name, size = models[0]
    metrics = _shipped_metrics(_read(folder / "metrics.json"))
    sram = _read(folder / "vela.json").get("sram_bytes")
    return (
        row.id, row.status, spent, name, f"{size / 1024:.0f}", f"{sram / 1024:.0f}" if sram else "",
        _figure(metrics, "box.mAP50-95"), _figure(metrics, "keypoints.mAP50-95"),
    )  # fmt: skip


def _shipped_metrics(metrics: dict[str, Any]) -> dict[str, Any]:
    for kind in ("tflite", "onnx", "checkpoint"):
        if kind in metrics:
            return dict(metrics[kind]["metrics"])
    return {}


def _figure(metrics: dict[str, Any], name: str) -> str:
    return f"{metrics[name]:.4f}" if name in metrics else ""


def _read(path: Path) -> dict[str, Any]:
    try:
        data = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}
    return data if isinstance(data, dict) else {}
