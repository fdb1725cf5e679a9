"""Collects what a report says: from a run's rows, the published and the rejected folders, the store.

Nothing is run and nothing is measured. A build that was not asked for is told as it stands.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from buildsys import __version__
from buildsys.digest import digest_file
from buildsys.engine import measurements
from buildsys.engine.models import Model, files_below, find_model
from buildsys.engine.publish import build_folder
from buildsys.engine.report import evidence
from buildsys.engine.report.comparisons import read_comparisons
from buildsys.engine.report.engines import STAGE, read_engine
from buildsys.engine.report.vendor import read_published
from buildsys.engine.session import Session
from buildsys.engine.summary import Row
from buildsys.errors import BuildsysError, InputError
from buildsys.graph import Plan
from buildsys.steps._report_data import (
    SHIPPED,
    Artifact,
    Budget,
    Latency,
    Measured,
    Report,
    StepLine,
)

_GOOD = ("built", "restored", "up-to-date")
_KINDS = ("failed", "blocked", "waiting", "rejected", "interrupted")
"""First words of a row's status."""
_REMEMBERED = ("failed", "blocked", "interrupted", "rejected")
"""What an earlier run found out, and no look at the folders tells."""


@dataclass(frozen=True, kw_only=True)
class Held:
    """A package, wherever it lies. `files`: name -> (bytes, sha256)."""

    files: dict[str, tuple[int, str]]
    read: Callable[[str], bytes]

    def json(self, name: str) -> Any:
        """A file's content; None where it is missing or none."""
        try:
            return json.loads(self.read(name)) if name in self.files else None
        except (OSError, ValueError):
            return None


def collect(session: Session, rows: list[Row], previous: Report | None) -> Report:
    """Every build of the workspace, by id; `rows`: what this run found out."""
    known = {row.id: row for row in rows}
    before = {item.id: item for item in previous.artifacts} if previous else {}
    found = [_artifact(session, build, known.get(build), before) for build in session.labels]
    found += [_broken(session, name) for name in session.loaded.broken]
    mistakes = tuple(diagnostic.render() for diagnostic in session.loaded.errors)
    return Report(
        version=__version__,
        artifacts=tuple(sorted(found, key=lambda artifact: artifact.id)),
        mistakes=mistakes,
        comparisons=read_comparisons(session.workspace, found),
        published=read_published() if any(item.engine for item in found) else None,
    )


def _artifact(
    session: Session, build: str, row: Row | None, before: dict[str, Artifact]
) -> Artifact:
    plan = session.plans.get(build)
    if plan is None and build in before and not build_folder(session.workspace, build).is_dir():
        return before[build]  # settled, and only a candidate: nothing has changed
    text = row.status if row else _standing(session, plan, before.get(build))
    status = _kind(text)
    artifact = Artifact(
        id=build, recipe=plan.recipe if plan else build.split("@", maxsplit=1)[0],
        target=plan.target if plan else build.split("@")[1], label=session.labels[build],
        status=status, detail="" if status == SHIPPED else text,
        candidate=build in session.candidates,
    )  # fmt: skip
    if plan is not None:
        artifact = replace(artifact, unverified=plan.notes, licences=plan.licences)
    held, manifest = _held(session, build, plan) if status != "rejected" else (None, {})
    engine = read_engine(session, plan, manifest)
    artifact = replace(artifact, engine=engine)
    if status == "rejected":
        return _rejected(session, plan, artifact)
    if engine is not None and plan is not None and not (held and held.files):
        return _unbuilt(session, plan, artifact)
    return _filled(session, artifact, held, manifest) if held else artifact


def _unbuilt(session: Session, plan: Plan, artifact: Artifact) -> Artifact:
    """A build whose engine is not here: what its ONNX files are, and what other machines measured."""
    latency = _on_devices(session, artifact.id, "", frozenset())
    return replace(artifact, latency=latency, **_known_of_steps(session, plan))


def _kind(text: str) -> str:
    """A row's status as the report's."""
    word = text.partition(" ")[0]
    if text in _GOOD:
        return SHIPPED
    return word if word in _KINDS else "interrupted" if text == "not finished" else text


def _standing(session: Session, plan: Plan | None, before: Artifact | None) -> str:
    """The status of a build that this run was not asked for."""
    if plan is None:
        return "up-to-date"
    text = session.standing(plan)
    if not text and before is not None and before.status in _REMEMBERED:
        return before.detail
    if not text:
        made = build_folder(session.workspace, plan.build).is_dir()
        return "stale" if made else "not built"
    return text


def _held(session: Session, build: str, plan: Plan | None) -> tuple[Held | None, dict[str, Any]]:
    """The package and its manifest: the folder's, else, of a candidate, the store's."""
    folder = build_folder(session.workspace, build)
    try:
        manifest = json.loads((folder / "manifest.json").read_bytes())
        files = {n: (int(row["bytes"]), str(row["sha256"])) for n, row in manifest["files"].items()}
        for name in ("manifest.json", "latency.json"):
            if (folder / name).is_file() and name not in files:
                size = (folder / name).stat().st_size
                files[name] = (size, digest_file(folder / name))
        return Held(files=files, read=lambda name: (folder / name).read_bytes()), manifest
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        pass
    if plan is None or not plan.package:
        return None, {}
    try:
        result = session.state.result(plan.package)
        digest = dict(result.outputs)["package"] if result else ""
        entries = session.state.store.index(digest) if digest else []
    except (BuildsysError, OSError, ValueError):
        return None, {}
    names = {name: (size, blob) for name, size, blob in entries}
    store = session.state.store
    return Held(files=names, read=lambda name: store.read(names[name][1])), {}


def _filled(session: Session, artifact: Artifact, held: Held, manifest: dict[str, Any]) -> Artifact:
    """With everything that its package tells."""
    model = find_model(held.files)
    digest = model.sha256 if model else ""
    proofs = manifest.get("evidence") if isinstance(manifest.get("evidence"), dict) else {}
    chain = {digest, *(d for s in manifest.get("steps", ()) for d in s.get("outputs", {}).values())}
    vela = held.json("vela.json")
    calibration = held.json("calibration.json")
    latency = evidence.read_latency(held.json("latency.json"), frozenset(chain))
    latency += _on_devices(session, artifact.id, digest, frozenset(chain))
    artifact = replace(
        artifact, **_shipped(model),
        manifest_sha256=held.files.get("manifest.json", (0, ""))[1],
        measured=_measured(held.json("metrics.json"), proofs),
        latency=_estimated(latency, vela, manifest, digest) + latency,
        calibration=tuple(map(str, calibration)) if isinstance(calibration, list) else (),
        calibration_sha256=held.files.get("calibration.json", (0, ""))[1],
        unverified=tuple(map(str, manifest.get("unverified", artifact.unverified))),
        licences=tuple(map(str, manifest.get("licences", artifact.licences))),
        steps=tuple(_step_line(step) for step in manifest.get("steps", ())),
        chosen=str((manifest.get("selection") or {}).get("chosen", "")),
    )  # fmt: skip
    artifact = replace(artifact, **_seen(session, manifest))
    return _proven(artifact, proofs or {}, _planned(vela, manifest))


def _measured(metrics: Any, proofs: Any) -> tuple[Measured, ...]:
    """Of the files of the package, and of the engine where a GPU ran it."""
    of_engine = (proofs or {}).get(STAGE)
    files = metrics if isinstance(metrics, dict) else {}
    return evidence.read_measured(files | ({"engine": of_engine} if of_engine else {}))


def _shipped(model: Model | None) -> dict[str, Any]:
    """The model as an artifact's fields; nothing where there is none."""
    if model is None:
        return {}
    return {"file": model.name, "bytes": model.bytes, "sha256": model.sha256}


def _on_devices(
    session: Session, build: str, digest: str, known: frozenset[str]
) -> tuple[Latency, ...]:
    """What was measured on devices, of the file that ships and of earlier ones."""
    try:
        rows = measurements.entries(session.workspace, build, digest).rows()
    except InputError as error:
        session.console.say(str(error))
        return ()
    return evidence.read_latency({"entries": rows}, known)


def _seen(session: Session, manifest: dict[str, Any]) -> dict[str, Any]:
    """What the files see on pictures, from the drawings that a proof step left in the store."""
    steps = [step for step in manifest.get("steps", ()) if step.get("module") == "draw_models"]
    digest = str(steps[0].get("outputs", {}).get("drawings", "")) if steps else ""
    try:
        names = (
            {name: blob for name, _, blob in session.state.store.index(digest)} if digest else {}
        )
        data = json.loads(session.state.store.read(names["drawings.json"]))
    except (BuildsysError, OSError, ValueError, KeyError):
        return {}
    sights, files = evidence.read_sights(data)
    whole = all(view.drawing in names for sight in sights for view in sight.views)
    return {"drawings": digest, "sights": sights, "sight_files": files} if whole else {}


def _proven(artifact: Artifact, proofs: dict[str, Any], planned: tuple[Budget, ...]) -> Artifact:
    """With the evidence that a manifest embeds."""
    return replace(
        artifact,
        budgets=evidence.read_budgets(proofs.get("fit")) or planned,
        ladder=evidence.read_ladder(proofs.get("parity") or proofs.get("signal")),
        load=evidence.facts(proofs.get("load")),
        contract=evidence.facts(proofs.get("contract")),
        overlap=evidence.facts(proofs.get("overlap")),
    )


def _estimated(
    known: tuple[Latency, ...], vela: Any, manifest: dict[str, Any], digest: str
) -> tuple[Latency, ...]:
    """Vela's own figure, where latency.json does not hold it already."""
    if any(entry.label == "estimated" for entry in known) or not isinstance(vela, dict):
        return ()
    params = _params(manifest, "compile_vela")
    entry = {
        "label": "estimated", "engine": "vela", "device": params.get("accelerator", ""),
        "mean_ms": vela.get("estimated_ms"), "sha256": digest, "what": "engine only",
    }  # fmt: skip
    return evidence.read_latency({"entries": [entry]}, frozenset((digest,)))


def _planned(vela: Any, manifest: dict[str, Any]) -> tuple[Budget, ...]:
    """What the compiler planned against what the firmware has, where no evidence says it."""
    has = _params(manifest, "fit_memory").get("arena_kib")
    need = vela.get("sram_bytes") if isinstance(vela, dict) else None
    if not isinstance(need, int) or not isinstance(has, int):
        return ()
    return (Budget(name="arena", need_bytes=need, has_bytes=has * 1024, by="vela"),)


def _params(manifest: dict[str, Any], module: str) -> dict[str, Any]:
    steps = [step for step in manifest.get("steps", ()) if step.get("module") == module]
    return dict(steps[0].get("params") or {}) if steps else {}


def _step_line(step: dict[str, Any]) -> StepLine:
    words = {name: str(step.get(name, "")) for name in ("stage", "module", "tool", "action_key")}
    return StepLine(**words)


def _rejected(session: Session, plan: Plan | None, artifact: Artifact) -> Artifact:
    """The file that was kept aside, why, and the figures that the store still has."""
    folder = session.workspace.build / ".rejected" / artifact.id
    try:
        verdict = json.loads((folder / "verdict.json").read_bytes())
        reasons = tuple(map(str, verdict["failures"]))
    except (OSError, ValueError, KeyError, TypeError):
        verdict, reasons = {}, ()
    artifact = replace(artifact, **_shipped(find_model(files_below(folder))))
    judge = str(verdict.get("stage") or "gate")
    detail = f"rejected by {judge}: {'; '.join(reasons)}" if reasons else artifact.detail
    artifact = replace(artifact, reasons=reasons, detail=detail)
    if plan is not None:
        artifact = replace(artifact, **_known_of_steps(session, plan))
    proofs = verdict.get("evidence")
    return _proven(artifact, proofs, ()) if isinstance(proofs, dict) else artifact


def _known_of_steps(session: Session, plan: Plan) -> dict[str, Any]:
    """Steps that have run, and what the evaluations among them found."""
    lines, metrics = [], {}
    for step in plan.steps:
        try:
            result, key = session.state.result(step.id), session.state.decide(step).key
        except BuildsysError:
            continue
        if result is None:
            continue
        lines.append(StepLine(stage=step.stage, module=step.module, tool=step.tool, action_key=key))
        digest = dict(result.outputs).get("metrics")
        if digest and step.module.startswith("evaluate_"):
            try:
                metrics[step.stage.removeprefix("evaluate-")] = json.loads(
                    session.state.store.read(digest)
                )
            except (OSError, ValueError):
                continue
    return {"steps": tuple(lines), "measured": evidence.read_measured(metrics)}


def _broken(session: Session, name: str) -> Artifact:
    """A recipe with a mistake: a row of its own."""
    told = [d for d in session.loaded.errors if Path(d.path).stem == name]
    detail = told[0].render().splitlines()[0] if told else "its recipe has a mistake"
    return Artifact(id=name, recipe=name, target="", label="", status="broken", detail=detail)
