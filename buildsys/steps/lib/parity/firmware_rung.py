"""Compare an emulated firmware decoder with our own decoding of the same integers: the last rung."""

from typing import TYPE_CHECKING, Any

from buildsys.steps.lib.firmware.arithmetic import Tensor
from buildsys.steps.lib.firmware.emulated_decoders import THRESHOLDS, UNVERIFIED, Reported, decode
from buildsys.steps.lib.firmware.output_layout import Network, Roles, assign
from buildsys.steps.lib.heads import decoders
from buildsys.steps.lib.parity import matched_detections, tolerances
from buildsys.steps.lib.parity.recording_files import Recording

if TYPE_CHECKING:
    import numpy as np


def compare(
    decoder: str, recording: Recording, network: Network
) -> tuple[dict[str, Any], list[str]]:
    """Return figures over all images, and sentences for those beyond their limits."""
    figures: dict[str, Any] = {
        "decoder": decoder,
        "threshold": THRESHOLDS[decoder].score,
        "unverified": list(UNVERIFIED[decoder.split("-", maxsplit=1)[0]]),
    }
    wrong = [output.name for output in recording if output.values.dtype.name != "int8"]
    if wrong or any(output.scale is None for output in recording):
        names = ", ".join(wrong) or "the outputs"
        kind = recording[0].values.dtype.name
        return figures, [f"{decoder} reads int8 outputs with a scale; {names} is {kind}."]
    shapes = tuple((1, *output.values.shape[1:]) for output in recording)
    roles = assign(decoder, shapes, network)
    if isinstance(roles, str):
        return figures, [roles]
    problem = _scale_problem(decoder, recording)
    if problem:
        return figures, [problem]
    return figures | _measure(decoder, recording, roles, network), []


def judge(figures: dict[str, Any]) -> list[str]:
    """Return sentences for figures beyond their limits."""
    problems = []
    limits = (
        ("boxes_px", "boxes", tolerances.FIRMWARE_PIXELS, " px"),
        ("scores", "scores", tolerances.FIRMWARE_SCORE, ""),
        ("keypoints_px", "keypoints", tolerances.FIRMWARE_PIXELS, " px"),
    )
    for key, what, limit, unit in limits:
        if figures.get(key, 0.0) > limit:
            problems.append(
                f"{figures['decoder']} reports {what} that are {figures[key]:.4g}{unit} from what"
                f" the outputs say (at most {limit:g}{unit})."
            )
    few = figures["ours"] < tolerances.FEWEST_OBJECTS
    if not few and figures["in_both"] < tolerances.FOUND_AGAIN * figures["ours"]:
        problems.append(
            f"{figures['decoder']} reports {figures['in_both']} of the {figures['ours']} objects"
            f" that the outputs hold (at least {tolerances.FOUND_AGAIN:.0%}): its suppression takes"
            " neighbours for one object."
        )
    return problems


def _scale_problem(decoder: str, recording: Recording) -> str:
    scale = recording[0].scale or 0.0
    if decoder != "sscma-yolov8" or scale < 0.1:
        return ""
    return (
        f"the output's scale is {scale:.3g}: from 0.1 on, sscma-yolov8 takes boxes for pixels and"
        " scores for percentages, so that no probability passes its threshold of 50. Let the"
        " network put out boxes normalized to 0..1."
    )


def _measure(decoder: str, recording: Recording, roles: Roles, network: Network) -> dict[str, Any]:
    """Return the largest differences in the cells that both keep before suppression, and counts
    after it.
    """
    worst = {"boxes_px": 0.0, "scores": 0.0, "keypoints_px": 0.0}
    counts = {"candidates": 0, "firmware": 0, "ours": 0, "in_both": 0}
    for index in range(len(recording[0].values)):
        tensors = tuple(_tensor(output, index) for output in recording)
        reported = decode(decoder, tensors, network)
        assert isinstance(reported, Reported)
        ours = _ours(decoder, tensors, roles, network)
        for key, value in _differences(decoder, reported, ours, network).items():
            worst[key] = max(worst[key], value)
        kept, classes = matched_detections.keep(
            *ours[:2],
            THRESHOLDS[decoder].score,
            THRESHOLDS[decoder].overlap,
            THRESHOLDS[decoder].per_class,
        )
        rows = list(reported.kept)
        theirs = reported.cells[rows]
        counts["candidates"] += len(reported.cells)
        counts["firmware"] += len(theirs)
        counts["ours"] += len(kept)
        counts["in_both"] += matched_detections.found_again(
            ours[0][kept], classes, ours[0][theirs], reported.classes[rows]
        )
    if not network.keypoints:
        del worst["keypoints_px"]
    return {key: float(f"{value:.4g}") for key, value in worst.items()} | counts


def _tensor(output: Any, index: int) -> Tensor:
    return Tensor(
        values=output.values[index : index + 1],
        scale=float(output.scale),
        zero_point=int(output.zero_point),
    )


def _ours(
    decoder: str, tensors: tuple[Tensor, ...], roles: Roles, network: Network
) -> decoders.Decoded:
    """Return our decoding of the same integers, in float64 where precision matters."""
    import numpy as np

    from buildsys.spec import STRIDES
    from buildsys.steps.lib.heads import yolov8_decoding

    if decoder in ("himax-od", "sscma-yolov8"):
        rows = tensors[roles.boxes[0]].real()[0].T.astype(np.float64)
        scores = tensors[1].real()[0].astype(np.float64) if len(tensors) == 2 else rows[:, 4:]
        centre, size = rows[:, :2] * network.width, rows[:, 2:4] * network.width
        boxes = np.concatenate([centre - size / 2, centre + size / 2], 1)
        return boxes, scores, np.zeros((len(boxes), 0, 3))
    values = {}
    for place, stride in enumerate(STRIDES):
        values[f"box_s{stride}"] = tensors[roles.boxes[place]].real()
        values[f"cls_s{stride}"] = tensors[roles.scores[place]].real()
    if roles.keypoints is not None:
        values["keypoints"] = tensors[roles.keypoints].real()
    return yolov8_decoding.decode_raw(values, network.height, network.width, 3)


def _differences(
    decoder: str, reported: Reported, ours: decoders.Decoded, network: Network
) -> dict[str, float]:
    """Return the largest differences over the firmware's cells, clipped to the frame, because the
    firmware cannot report values below 0.
    """
    import numpy as np

    cells, classes = reported.cells, reported.classes
    if not len(cells):
        return {}
    boxes = ours[0][cells]
    first = boxes[:, :2] if decoder.startswith("himax") else (boxes[:, :2] + boxes[:, 2:]) / 2
    wanted = np.concatenate([first, boxes[:, 2:] - boxes[:, :2]], 1)
    found = {
        "boxes_px": _within(reported.boxes, wanted, network),
        "scores": float(np.abs(reported.scores - ours[1][cells, classes]).max()),
    }
    if reported.keypoints.shape[1]:
        points = ours[2][cells][..., :2]
        found["keypoints_px"] = _within(reported.keypoints, points, network)
    return found


def _within(left: "np.ndarray", right: "np.ndarray", network: Network) -> float:
    import numpy as np

    side = network.width
    return float(np.abs(np.clip(left, 0, side) - np.clip(right, 0, side)).max())
