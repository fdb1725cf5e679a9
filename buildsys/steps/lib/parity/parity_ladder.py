"""The parity ladder: compare each form of a network with the form before it, rung by rung."""

import dataclasses
import itertools
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from buildsys.steps.lib.firmware.output_layout import Network
from buildsys.steps.lib.heads import decoders
from buildsys.steps.lib.heads.branches import layout, usual
from buildsys.steps.lib.parity import (
    conversion,
    firmware_rung,
    matched_detections,
    output_figures,
    output_parts,
    tolerances,
)
from buildsys.steps.lib.parity.recording_files import Output, Recording

if TYPE_CHECKING:
    import numpy as np

ORDER = ("checkpoint", "onnx", "quantized-onnx", "float-tflite", "tflite", "tflm")
"""Forms of a network from first to last; a ladder has those that a build makes."""

_LOWERED = ("quantized-onnx", "tflite")
"""Forms with another precision than the form before."""

NOT_JUDGED = "Random weights carry no signal: figures are given, not judged."


@dataclass(frozen=True, kw_only=True)
class Rung:
    """The comparison of two neighbouring forms; `outputs` by name of an output or of a part of it."""

    start: str
    end: str
    outputs: dict[str, output_figures.Figure]
    detections: dict[str, Any]
    failures: tuple[str, ...]
    note: str = ""

    @property
    def title(self) -> str:
        """Return the title: `onnx → float-tflite`."""
        return f"{self.start} → {self.end}"

    def as_json(self) -> dict[str, Any]:
        """Return its JSON form in the verdict."""
        content: dict[str, Any] = {
            "from": self.start,
            "to": self.end,
            "passed": not self.failures,
            "outputs": {name: figure.as_json() for name, figure in self.outputs.items()},
        }
        if self.detections:
            content["detections"] = self.detections
        if self.note:
            content["note"] = self.note
        return content


@dataclass(frozen=True, kw_only=True)
class Ladder:
    """How to read a network, and how its file was quantized.

    `head`: as in `ModelSpec.head`; `decoder`: one of `output_layout.DECODERS`, or empty. `cure`:
    advice for a lower precision; empty: the advice for a TFLite file.
    """

    head: str
    network: Network
    scheme: str
    trained: bool
    decoder: str = ""
    cure: str = ""

    def climb(self, recordings: dict[str, Recording]) -> tuple[Rung, ...]:
        """Return every rung between existing neighbours, and the firmware decoder's rung at the
        end.
        """
        forms = [form for form in ORDER if form in recordings]
        rungs = [
            self._compare(start, end, recordings[start], recordings[end])
            for start, end in itertools.pairwise(forms)
        ]
        last = [form for form in ("tflite", "tflm") if form in recordings]
        if self.decoder and last:
            # a runtime may list outputs in another order; the firmware uses the file's
            ordered = tuple(output.name for output in recordings[last[0]])
            by_name = {output.name: output for output in recordings[last[-1]]}
            outputs = tuple(by_name[name] for name in ordered if name in by_name)
            rungs.append(self._decode(last[-1], outputs))
        return tuple(rungs)

    def _compare(self, start: str, end: str, before: Recording, after: Recording) -> Rung:
        wanted, found = ({o.name: o for o in recording} for recording in (before, after))
        found = {name: _aligned(wanted.get(name), output) for name, output in found.items()}
        problem = _unlike(wanted, found)
        if problem:
            return Rung(start=start, end=end, outputs={}, detections={}, failures=(problem,))
        if end == "tflm":
            figures = {
                name: output_figures.steps_apart(
                    self._split(name, output.values)[0].kind,
                    output.values,
                    found[name].values,
                )
                for name, output in sorted(wanted.items())
            }
            return _rung(start, end, figures, " in TFLite Micro", "")
        pairs = [
            pair
            for name, output in sorted(wanted.items())
            for pair in zip(self._parts(output), self._parts(found[name]), strict=True)
        ]
        if end not in _LOWERED or self.scheme == "float32":
            figures = {a.name: output_figures.closeness(a, b) for a, b in pairs}
            return _rung(start, end, figures, "", "")
        return self._quantized(start, end, pairs, before, after)

    def _quantized(
        self, start: str, end: str, pairs: list[Any], before: Recording, after: Recording
    ) -> Rung:
        least = tolerances.LEAST_SIGNAL[self.scheme] if self.trained else None
        if least is not None and self.scheme == "float16" and end == "quantized-onnx":
            least = tolerances.LEAST_SIGNAL_IN_HALF
        unseen = self._unseen(pairs)
        figures = {
            a.name: output_figures.signal(a, b, None if a.name in unseen else least)
            for a, b in pairs
        }
        better = self.cure or output_figures.head_cure(usual(self.head))
        cures = better if self.cure else f"{output_figures.CALIBRATE}; or {better}"
        rung = _rung(start, end, figures, "", f"Cure: {cures}")
        detections: dict[str, Any] = {}
        failures: list[str] = []
        if self.head != "none":
            decoded = [
                [self._decode_ours(recording, i) for i in range(len(before[0].values))]
                for recording in (before, after)
            ]
            detections, failures = matched_detections.compare(
                decoded[0], decoded[1], judged=self.trained, cure=better
            )
        return Rung(
            start=start,
            end=end,
            outputs=figures,
            detections=detections,
            failures=(*rung.failures, *failures),
            note=_not_compared(figures, detections) if self.trained else NOT_JUDGED,
        )

    def _unseen(self, pairs: list[tuple[output_figures.Part, output_figures.Part]]) -> set[str]:
        """Return the names of boxes at strides where neither form detects anything, if a side is
        one number. Without training objects of that size their values are nearly constant; bins
        always differ among themselves.
        """
        if layout(self.head) != "yolo26-raw":
            return set()
        return {
            name.replace("cls", "box")
            for name in (a.name for a, _ in pairs if a.kind == "score")
            if not any(_sees(part) for pair in pairs for part in pair if part.name == name)
        }

    def _decode_ours(self, recording: Recording, index: int) -> decoders.Decoded:
        return matched_detections.decode(recording, index, self.head, self.network)

    def _parts(self, output: Output) -> tuple[output_figures.Part, ...]:
        return self._split(output.name, output.real())

    def _split(self, name: str, values: "np.ndarray") -> tuple[output_figures.Part, ...]:
        return output_parts.split(name, values, self.network.classes, self.network.keypoints)

    def _decode(self, start: str, recording: Recording) -> Rung:
        figures, problems = firmware_rung.compare(self.decoder, recording, self.network)
        problems = problems or firmware_rung.judge(figures)
        note = ""
        if not problems and not figures["candidates"]:
            note = "Nothing reaches the firmware's threshold on these images."
        return Rung(
            start=start,
            end="decoder",
            outputs={},
            detections=figures,
            failures=tuple(problems),
            note=note,
        )


def _rung(
    start: str, end: str, figures: dict[str, output_figures.Figure], where: str, cure: str
) -> Rung:
    bad = sorted(
        output_figures.describe(name, item) for name, item in figures.items() if not item.passed
    )
    text = f"{', '.join(bad)}{where}."
    if cure:
        text += f" {cure}."
    failures = (text,) if bad else ()
    return Rung(start=start, end=end, outputs=figures, detections={}, failures=failures)


def _not_compared(figures: dict[str, output_figures.Figure], detections: dict[str, Any]) -> str:
    """Return which values were not compared because they are only where no form detects anything;
    "" if there are none.
    """
    scores = {name: figure for name, figure in figures.items() if figure.kind == "score"}
    low = sorted(name for name, figure in scores.items() if figure.passed and figure.value is None)
    if low:
        whose = "score" if len(low) == len(scores) else f"score of {', '.join(low)}"
        rest = "scores" if len(low) == len(scores) else "they"
        least = f"is above {tolerances.SEEN:g}"
        return f"No {whose} {least} on these images: {rest} were not compared."
    if detections and not detections["from"]:
        least = f"a score of {tolerances.CONFIDENCE:g} before"
        return f"No detection has {least} on these images: detections were not compared."
    return ""


def _sees(scores: output_figures.Part) -> bool:
    """Return whether any cell's class logits are above the detection limit."""
    most = float(scores.values.max(initial=-math.inf))
    return most > math.log(tolerances.SEEN / (1 - tolerances.SEEN))


def _aligned(wanted: Output | None, found: Output) -> Output:
    """Return an output of four axes in the other form's axis order: converters move channels to the
    end.
    """
    if wanted is None or found.values.ndim != 4:
        return found
    real = conversion.align(wanted.real(), found.real())
    if real.shape == found.values.shape and (real == found.real()).all():
        return found
    return dataclasses.replace(found, values=conversion.channels_first(found.values))


def _unlike(wanted: dict[str, Output], found: dict[str, Output]) -> str:
    """Return a sentence if the outputs of the two forms differ; "" if they agree."""
    shapes = [{name: list(o.values.shape) for name, o in side.items()} for side in (wanted, found)]
    if shapes[0] == shapes[1]:
        return ""
    listed = [", ".join(f"{n} {s}" for n, s in sorted(side.items())) for side in shapes]
    return f"the outputs are {listed[0]} before and {listed[1]} after (images first)."
