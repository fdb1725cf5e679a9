"""Writes manifest.json: what was made from what, by which tools, what was proved, and what was not.

It is equal on every machine. Measurements of one machine are in latency.json and build.json.
"""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from buildsys import __version__
from buildsys.digest import digest_file
from buildsys.execution.state.decide import State
from buildsys.execution.state.manifests import (
    Manifest,
    ManifestFile,
    ManifestSelection,
    ManifestStep,
    ManifestTarget,
    Trained,
)
from buildsys.execution.state.step_outputs import read_entries, read_object
from buildsys.execution.tools.host_tools import named
from buildsys.graph import BuildPlan, Step
from buildsys.typed_json import decode

EMBEDDED_OUTPUTS = ("verdict", "evidence", "arena")
"""Outputs that are embedded in a manifest."""
_OF = {True: "the shipped file", False: "a file from which the shipped one was made"}


def make_manifest(plan: BuildPlan, state: State, package: Path) -> Manifest:
    """Return the manifest: every step with its key, parameters, tools and digests."""
    files = {
        path.relative_to(package).as_posix(): ManifestFile(
            bytes=path.stat().st_size, sha256=digest_file(path)
        )
        for path in sorted(package.rglob("*"))
        if path.is_file()
    }
    evidence = find_evidence(plan, state)
    notes = (*plan.notes, *_undone(plan, state), *_untested(evidence), *_unknown(evidence))
    choice = plan.choice
    return Manifest(
        buildsys=__version__,
        build=plan.build,
        target=ManifestTarget(name=plan.target, label=plan.label),
        files=files,
        preprocessing=json.loads(plan.preprocessing) if plan.preprocessing else None,
        steps=tuple(_describe_step(step, state) for step in _portable_steps(plan, state)),
        evidence=evidence,
        unverified=notes,
        licences=tuple(plan.licences),
        selection=decode(ManifestSelection, choice.for_manifest) if choice else None,
    )


def _portable_steps(plan: BuildPlan, state: State) -> list[Step]:
    """Return the steps that are equal on every machine.

    Measurements of this machine, and steps that it could not run, are left out.
    """
    return [step for step in plan.steps if not step.local and state.result(step.id) is not None]


def find_evidence(plan: BuildPlan, state: State) -> dict[str, object]:
    """Return all findings of verdicts and proofs by stage. Raises MissingBytes, StepFailed."""
    found: dict[str, object] = {}
    for step in plan.steps:
        result = state.result(step.id)
        if step.local or result is None:
            continue
        for name, _ in result.outputs:
            if name in EMBEDDED_OUTPUTS:
                found[step.stage] = read_object(state.read(step.id, name), step.stage, name)
    return found


def find_latency(plan: BuildPlan, state: State, folder: Path) -> list[dict[str, object]]:
    """Return every latency figure with its label: the compiler's estimate, and this machine's
    figures. `of` says whether it is one of the shipped file.

    They are kept beside the manifest, since other machines measure other figures. Raises
    MissingBytes, StepFailed.
    """
    found: list[dict[str, object]] = []
    place = folder / "vela.json"
    if place.is_file():
        vela = read_object(place.read_bytes(), "the package", place.name)
        model = next(iter(sorted(folder.glob("*_vela.tflite"))), None)
        if "estimated_ms" in vela and model is not None:
            found.append(
                {
                    "label": "estimated",
                    "engine": "vela",
                    "device": plan.label,
                    "mean_ms": vela["estimated_ms"],
                    "format": "vela-tflite",
                    "sha256": digest_file(model),
                    "what": "engine only",
                }
            )
    shipped = state.input_digest(plan.shipped) if plan.shipped is not None else None
    for step in (step for step in plan.steps if step.local):
        if state.result(step.id) is None:
            continue
        rows = read_entries(state.read(step.id, "latency"), step.stage, "latency")
        found += [row | {"of": _OF[row.get("sha256") == shipped]} for row in rows]
    return found


def _undone(plan: BuildPlan, state: State) -> list[str]:
    """Return sentences about proofs that this machine could not give."""
    return [
        f"Not done: {step.stage}; {named(step.requires)} was not on the machine that built this."
        for step in plan.steps
        if step.id in plan.proofs and step.requires and state.result(step.id) is None
    ]


def _unknown(evidence: dict[str, Any]) -> list[str]:
    """Return sentences about settings that could not be read from an emulated decoder."""
    rungs = evidence.get("parity", {}).get("rungs") or [{}]
    found = rungs[-1].get("detections") or {}
    return [
        f"Not verified: of the emulated decoder {found.get('decoder', '')}: {text}."
        for text in found.get("unverified", ())
    ]


def _untested(evidence: dict[str, Any]) -> list[str]:
    """Return sentences about verdicts that passed because nothing could be tested."""
    return [
        f"Not done: {stage}; {found.get('reason', 'no reason was recorded')}"
        for stage, found in evidence.items()
        if isinstance(found, dict) and found.get("tested") is False
    ]


def _describe_step(step: Step, state: State) -> ManifestStep:
    action_key, result = state.key(step), state.result(step.id)
    assert action_key is not None
    assert result is not None
    recorded = state.recorded(step)
    made = ManifestStep(
        stage=step.stage,
        module=step.module,
        action_key=action_key.key,
        tool=step.tool,
        tool_lock=step.tool_identity,
        code=step.code,
        params=json.loads(step.params),
        inputs=dict(action_key.inputs),
        outputs=dict(result.outputs),
    )
    if recorded is None:
        return made
    return replace(
        made,
        action_key=recorded.action_key,
        tool=recorded.tool,
        tool_lock=recorded.lock,
        code=recorded.code,
        outputs=recorded.outputs,
        trained=Trained(device=recorded.device, torch=recorded.torch),
    )
