"""Turns a package into values of the report: its files in any folder, its model, and its proofs."""

import contextlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from buildsys.digest import digest_file
from buildsys.errors import BuildsysError, InputError
from buildsys.execution.packages import measurements
from buildsys.execution.packages.model_file import Model, find_model
from buildsys.execution.session.session import Session
from buildsys.execution.state.manifests import Manifest, ManifestStep, read_manifest
from buildsys.files import read_regular
from buildsys.graph import PROOFS, BuildPlan
from buildsys.report import evidence
from buildsys.report.engines import STAGE
from buildsys.steps.lib.files.flatbuffer import OUTSIDE
from buildsys.steps.lib.firmware.planned_arena import planned_arena
from buildsys.steps.lib.report.values import Artifact, Budget, Latency, Measured, StepLine


@dataclass(frozen=True, kw_only=True)
class Held:
    """A package in any folder; `files`: name -> (bytes, sha256)."""

    files: dict[str, tuple[int, str]]
    read: Callable[[str], bytes]

    def json(self, name: str) -> Any:
        """Return a file's JSON; None if it is missing or invalid."""
        try:
            return json.loads(self.read(name)) if name in self.files else None
        except (OSError, ValueError):
            return None


def find_package(
    session: Session, build: str, plan: BuildPlan | None
) -> tuple[Held | None, Manifest | None]:
    """Return the package and its manifest from the folder or, for a candidate, from the store."""
    folder = session.workspace.package(build)
    manifest = read_manifest(folder)
    if manifest is not None:
        files = manifest.sizes
        with contextlib.suppress(OSError):
            for name in ("manifest.json", "latency.json"):
                if (folder / name).is_file() and name not in files:
                    size = (folder / name).stat().st_size
                    files[name] = (size, digest_file(folder / name))
        return Held(files=files, read=lambda name: read_regular(folder / name)), manifest
    if plan is None:
        return None, None
    try:
        result = session.state.result(plan.package)
        digest = result.output("package") if result else ""
        entries = session.state.store.index(digest) if digest else ()
    except (BuildsysError, OSError):
        return None, None
    names = {name: (size, blob) for name, size, blob in entries}
    store = session.state.store
    return Held(files=names, read=lambda name: store.read(names[name][1])), None


def with_package(
    session: Session, artifact: Artifact, held: Held, manifest: Manifest | None
) -> Artifact:
    """Return the build with all facts from its package."""
    model = find_model(held.files)
    digest = model.sha256 if model else ""
    proofs = manifest.evidence if manifest is not None else {}
    steps = manifest.steps if manifest is not None else ()
    chain = {digest, *(made for step in steps for made in step.outputs.values())}
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
        unverified=manifest.unverified if manifest is not None else artifact.unverified,
        licences=manifest.licences if manifest is not None else artifact.licences,
        steps=tuple(map(_step_line, steps)),
        chosen=manifest.chosen if manifest is not None else "",
    )
    artifact = replace(artifact, **_seen(session, manifest), proved=_is_proved(manifest))
    return with_proofs(artifact, proofs, _planned(vela, manifest, held, model))


def _is_proved(manifest: Manifest | None) -> bool:
    """Return whether a proof measured or judged the package; assumed without a manifest."""
    steps = manifest.steps if manifest is not None else ()
    return not steps or any(PROOFS & step.outputs.keys() for step in steps)


def _measured(metrics: Any, proofs: Mapping[str, object]) -> tuple[Measured, ...]:
    """Return the accuracy of the package's files, and of the engine if a GPU ran it."""
    of_engine = proofs.get(STAGE)
    files = metrics if isinstance(metrics, dict) else {}
    return evidence.read_measured(files | ({"engine": of_engine} if of_engine else {}))


def model_fields(model: Model | None) -> dict[str, Any]:
    """Return the model as an artifact's fields; empty without one."""
    if model is None:
        return {}
    return {"file": model.name, "bytes": model.bytes, "sha256": model.sha256}


def on_devices(
    session: Session, build: str, digest: str, known: frozenset[str]
) -> tuple[Latency, ...]:
    """Return measurements on devices, of the shipped file and of earlier ones."""
    try:
        rows = measurements.entries(session.workspace, build, digest).rows()
    except InputError as error:
        session.console.print_line(str(error))
        return ()
    return evidence.read_latency({"entries": rows}, known)


def _seen(session: Session, manifest: Manifest | None) -> dict[str, Any]:
    """Return detections on images from the drawings that a proof step left in the store."""
    step = _of_module(manifest, "draw_models")
    digest = step.outputs.get("drawings", "") if step is not None else ""
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
    artifact: Artifact, proofs: Mapping[str, object], planned: tuple[Budget, ...]
) -> Artifact:
    """Return the build with the evidence that a manifest embeds."""
    return replace(
        artifact,
        budgets=evidence.read_budgets(proofs.get("fit")) or planned,
        ladder=evidence.read_ladder(proofs.get("parity") or proofs.get("signal")),
        load=evidence.facts(proofs.get("load")),
        contract=evidence.facts(proofs.get("contract")),
        overlap=evidence.facts(proofs.get("overlap")),
    )


def _estimated(
    known: tuple[Latency, ...], vela: Any, manifest: Manifest | None, digest: str
) -> tuple[Latency, ...]:
    """Return Vela's estimate as a latency entry; empty without one, or if `known` contains it."""
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


def _planned(
    vela: Any, manifest: Manifest | None, held: Held, model: Model | None
) -> tuple[Budget, ...]:
    """Return the compiler's plan against the firmware's memory, where no evidence contains it."""
    has = _params(manifest, "fit_memory").get("arena_kib")
    known = isinstance(vela, dict) and isinstance(vela.get("sram_bytes"), int)
    if not known or not isinstance(has, int) or model is None:
        return ()
    try:
        need = planned_arena(vela, held.read(model.name))
    except (OSError, BuildsysError, TypeError, IndexError, *OUTSIDE):
        return ()  # another file, or one without Vela's operator
    return (Budget(name="arena", need_bytes=need, has_bytes=has * 1024, by="vela"),)


def _params(manifest: Manifest | None, module: str) -> dict[str, object]:
    step = _of_module(manifest, module)
    return step.params if step is not None else {}


def _of_module(manifest: Manifest | None, module: str) -> ManifestStep | None:
    steps = manifest.steps if manifest is not None else ()
    return next((step for step in steps if step.module == module), None)


def _step_line(step: ManifestStep) -> StepLine:
    return StepLine(
        stage=step.stage, module=step.module, tool=step.tool, action_key=step.action_key
    )
