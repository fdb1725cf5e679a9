"""A package as values of the report: its files wherever they are, its model, and every proof in it."""

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from buildsys.digest import digest_file
from buildsys.errors import BuildsysError, InputError
from buildsys.execution.packages import measurements
from buildsys.execution.packages.model_file import Model, find_model
from buildsys.execution.packages.publish import build_folder
from buildsys.execution.session.session import Session
from buildsys.graph import PROOFS, BuildPlan
from buildsys.report import evidence
from buildsys.report.engines import STAGE
from buildsys.steps.lib.report.values import Artifact, Budget, Latency, Measured, StepLine


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


def find_package(
    session: Session, build: str, plan: BuildPlan | None
) -> tuple[Held | None, dict[str, Any]]:
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
    if plan is None:
        return None, {}
    try:
        result = session.state.result(plan.package)
        digest = result.output("package") if result else ""
        entries = session.state.store.index(digest) if digest else ()
    except (BuildsysError, OSError):
        return None, {}
    names = {name: (size, blob) for name, size, blob in entries}
    store = session.state.store
    return Held(files=names, read=lambda name: store.read(names[name][1])), {}


def with_package(
    session: Session, artifact: Artifact, held: Held, manifest: dict[str, Any]
) -> Artifact:
    """With everything that its package tells."""
    model = find_model(held.files)
    digest = model.sha256 if model else ""
    proofs = manifest.get("evidence") if isinstance(manifest.get("evidence"), dict) else {}
    chain = {digest, *(d for s in manifest.get("steps", ()) for d in s.get("outputs", {}).values())}
    vela = held.json("vela.json")
    calibration = held.json("calibration.json")
    latency = evidence.read_latency(held.json("latency.json"), frozenset(chain))
    latency += on_devices(session, artifact.id, digest, frozenset(chain))
    artifact = replace(
        artifact,
        **model_fields(model),
        manifest_sha256=held.files.get("manifest.json", (0, ""))[1],
        measured=_measured(held.json("metrics.json"), proofs),
        latency=_estimated(latency, vela, manifest, digest) + latency,
        calibration=tuple(map(str, calibration)) if isinstance(calibration, list) else (),
        calibration_sha256=held.files.get("calibration.json", (0, ""))[1],
        unverified=tuple(map(str, manifest.get("unverified", artifact.unverified))),
        licences=tuple(map(str, manifest.get("licences", artifact.licences))),
        steps=tuple(_step_line(step) for step in manifest.get("steps", ())),
        chosen=str((manifest.get("selection") or {}).get("chosen", "")),
    )
    artifact = replace(artifact, **_seen(session, manifest), proved=_is_proved(manifest))
    return with_proofs(artifact, proofs or {}, _planned(vela, manifest))


def _is_proved(manifest: dict[str, Any]) -> bool:
    """Whether anything measured or judged what is packed; without a manifest nobody says otherwise."""
    steps = manifest.get("steps")
    return not steps or any(PROOFS & step.get("outputs", {}).keys() for step in steps)


def _measured(metrics: Any, proofs: Any) -> tuple[Measured, ...]:
    """Of the files of the package, and of the engine where a GPU ran it."""
    of_engine = (proofs or {}).get(STAGE)
    files = metrics if isinstance(metrics, dict) else {}
    return evidence.read_measured(files | ({"engine": of_engine} if of_engine else {}))


def model_fields(model: Model | None) -> dict[str, Any]:
    """The model as an artifact's fields; nothing where there is none."""
    if model is None:
        return {}
    return {"file": model.name, "bytes": model.bytes, "sha256": model.sha256}


def on_devices(
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
    images, files = evidence.read_image_comparisons(data)
    whole = all(view.drawing in names for image in images for view in image.views)
    return {"drawings": digest, "sights": images, "sight_files": files} if whole else {}


def with_proofs(
    artifact: Artifact, proofs: dict[str, Any], planned: tuple[Budget, ...]
) -> Artifact:
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
        "label": "estimated",
        "engine": "vela",
        "device": params.get("accelerator", ""),
        "mean_ms": vela.get("estimated_ms"),
        "sha256": digest,
        "what": "engine only",
    }
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
