"""Cases of the parity ladder that need numpy; test_parity runs them in the evaluation environment.

`python -m tests.tools.parity_cases` runs every function `check_*` and prints {name: fault or ""}.
"""

import json
import sys
import tempfile
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from buildsys.spec import Preprocessing
from buildsys.steps import examine_onnx
from buildsys.steps.lib.firmware import arithmetic, emulated_decoders
from buildsys.steps.lib.firmware.output_layout import Network
from buildsys.steps.lib.heads.outputs import head_outputs
from buildsys.steps.lib.images import prepared_images
from buildsys.steps.lib.parity import (
    conversion,
    firmware_rung,
    output_figures,
    output_parts,
    parity_ladder,
    recording_files,
    signal,
    tolerances,
)
from buildsys.steps.lib.parity.recording_files import Output, Recording

SIDE = 64
_HIMAX = ("box_s16", "box_s8", "cls_s32", "keypoints", "cls_s8", "box_s32", "cls_s16")


def network(keypoints: int = 17, classes: int = 1) -> Network:
    """A small square network."""
    return Network(height=SIDE, width=SIDE, classes=classes, keypoints=keypoints)


def answers(net: Network, pictures: int = 3, seed: int = 0, peak: float = 3.0) -> dict[str, Any]:
    """Float outputs by name, as of a trained network: a few clear objects in an empty scene.

    `peak`: the logit of the objects.
    """
    import numpy as np

    rng = np.random.default_rng(seed)
    values = {}
    for tensor in head_outputs("raw", SIDE, SIDE, net.classes, net.keypoints, 3):
        shape = (pictures, *tensor.shape[1:])
        if tensor.name.startswith("cls"):
            found = rng.normal(-6, 1, shape)
            found[:, ::5] = rng.normal(peak, 0.3, found[:, ::5].shape)
        elif tensor.name.startswith("box"):
            found = rng.normal(0, 1, shape)
            bins = found.reshape(-1, 16)  # each side of a box has a confident length
            bins[np.arange(len(bins)), rng.integers(0, 8, len(bins))] += 8
        else:
            found = rng.normal(0.3, 0.5, shape)
        values[tensor.name] = found.astype(np.float32)
    return values


def floats(values: dict[str, Any]) -> Recording:
    """A recording of float outputs."""
    return tuple(Output(name=name, values=value) for name, value in values.items())


def integers(values: dict[str, Any], order: tuple[str, ...] = ()) -> Recording:
    """The same outputs in int8, each with its own scale."""
    import numpy as np

    outputs = []
    for name in order or tuple(values):
        low, high = float(values[name].min()), float(values[name].max())
        scale = (high - low) / 255
        zero = round(-128 - low / scale)
        rounded = np.clip(np.rint(values[name] / scale) + zero, -128, 127).astype(np.int8)
        outputs.append(Output(name=name, values=rounded, scale=scale, zero_point=zero))
    return tuple(outputs)


def ladder(**changes: Any) -> parity_ladder.Ladder:
    """A trained pose network in int8 for SSCMA's firmware."""
    given: dict[str, Any] = {
        "head": "raw",
        "network": network(),
        "scheme": "int8",
        "trained": True,
        "decoder": "sscma-pose",
    } | changes
    return parity_ladder.Ladder(**given)


def forms(values: dict[str, Any]) -> dict[str, Recording]:
    """Recordings of every file of one network, without faults."""
    whole = integers(values)
    return {
        "checkpoint": floats(values),
        "onnx": floats(values),
        "float-tflite": floats(values),
        "tflite": whole,
        "tflm": whole,
    }


def replace(recording: Recording, name: str, values: Any) -> Recording:
    """The recording with one output replaced."""
    return tuple(
        Output(
            name=o.name,
            values=values if o.name == name else o.values,
            scale=o.scale,
            zero_point=o.zero_point,
        )
        for o in recording
    )


def failing(recordings: dict[str, Recording], **changes: Any) -> list[str]:
    """The titles and messages of the failing rungs."""
    rungs = ladder(**changes).climb(recordings)
    return [f"{rung.title}: {text}" for rung in rungs for text in rung.failures]


def check_recordings_keep_order_types_and_bytes() -> None:
    """Recordings keep types and order, and equal content gives equal bytes."""
    recording = integers(answers(network()), _HIMAX)
    with tempfile.TemporaryDirectory() as folder:
        one, two = Path(folder, "one.npz"), Path(folder, "two")
        recording_files.save(one, recording)
        recording_files.save(two, recording_files.load(one))
        assert one.read_bytes() == two.read_bytes()
        loaded = recording_files.load(two)
    assert [o.name for o in loaded] == list(_HIMAX)
    for before, after in zip(recording, loaded, strict=True):
        assert after.values.dtype.name == "int8"
        assert (after.values == before.values).all()
        assert after.zero_point == before.zero_point
        assert abs((after.scale or 0) - (before.scale or 0)) < 1e-6


def check_a_sound_network_climbs_every_rung() -> None:
    """A correct network passes five rungs, each with a figure per output."""
    rungs = ladder().climb(forms(answers(network())))
    assert [rung.title for rung in rungs] == [
        "checkpoint → onnx",
        "onnx → float-tflite",
        "float-tflite → tflite",
        "tflite → tflm",
        "tflm → decoder",
    ]
    assert not [text for rung in rungs for text in rung.failures]
    assert all(len(rung.outputs) == 7 for rung in rungs[:4])
    found = rungs[2].detections
    assert found["from"] > 3
    assert {"boxes", "scores", "keypoints"} <= set(found)


def check_wrong_export_is_the_first_to_fail() -> None:
    """A difference of 0.1 in one logit of one image fails the export's rung."""
    recordings = forms(answers(network()))
    box = dict(answers(network()))["box_s16"].copy()
    box[2, 0, 5] += 0.1
    recordings["onnx"] = replace(recordings["onnx"], "box_s16", box)
    (told,) = [text for text in failing(recordings) if text.startswith("checkpoint")]
    assert told.startswith("checkpoint → onnx: box_s16 differs by 0.1 (at most 0.00")


def check_wrong_conversion_is_reported_with_its_rung() -> None:
    """A wrong conversion fails at its own rung, the float TFLite."""
    recordings = forms(answers(network()))
    recordings["float-tflite"] = floats(answers(network(), seed=9))
    told = failing(recordings)
    assert told[0].startswith("onnx → float-tflite: box_s16 differs by ")
    assert len([text for text in told if text.startswith("onnx")]) == 1


def check_boxes_lost_keypoints_fine() -> None:
    """Lost boxes are reported, correct keypoints are not."""
    values = answers(network())
    recordings = forms(values)
    broken = dict(values)
    for stride in (8, 16, 32):
        broken[f"box_s{stride}"] = answers(network(), seed=5)[f"box_s{stride}"]
    recordings["tflite"] = recordings["tflm"] = integers(broken)
    told = failing(recordings)
    assert "box_s8 keeps -" in told[0]
    assert "keypoints" not in told[0].split("Cure")[0]
    assert "cls" not in told[0]
    assert "calibrate on more images" in told[0]
    assert any("boxes of the same detections overlap by" in text for text in told)
    assert not any("keypoints of the same" in text for text in told)


def check_scores_lost() -> None:
    """Lost scores are reported as a difference of probability, with the remedy."""
    values = answers(network())
    recordings = forms(values)
    flat = {n: v * 0 - 6 if n.startswith("cls") else v for n, v in values.items()}
    for name in [n for n in flat if n.startswith("cls")]:
        flat[name][0, 0] = -5.9
    recordings["tflite"] = recordings["tflm"] = integers(flat)
    told = failing(recordings)
    assert "cls_s8 differs by 0.95 in probability (at most 0.25)" in told[0]
    assert "box" not in told[0].split("Cure")[0]
    assert output_figures.head_cure("raw") in told[0]


def check_scores_that_are_low_everywhere_are_not_compared() -> None:
    """Scores below 0.2 in both files have no figure, and a note instead of a passed comparison; so
    have detections that have no score of 0.25.
    """
    import numpy as np

    def climb(highest: float, lost: tuple[str, ...]) -> parity_ladder.Rung:
        values = answers(network())
        peak = float(np.log(highest / (1 - highest)))
        low = {n: np.minimum(v, peak) if n.startswith("cls") else v for n, v in values.items()}
        after = {n: np.minimum(v, -9) if n in lost else v for n, v in low.items()}
        given = {"onnx": floats(low), "tflite": floats(after)}
        (rung,) = ladder(decoder="").climb(given)
        return rung

    scores = ("cls_s16", "cls_s32", "cls_s8")
    rung = climb(0.19, scores)
    assert not rung.failures
    assert rung.note == "No score is above 0.2 on these images: scores were not compared."
    for name in scores:
        figure = rung.as_json()["outputs"][name]
        assert (figure["value"], figure["limit"]) == (None, None)
    rung = climb(0.22, ())
    assert rung.outputs["cls_s8"].value == 0
    assert rung.note == (
        "No detection has a score of 0.25 before on these images: detections were not compared."
    )
    assert climb(0.22, scores).outputs["cls_s8"].value == 0.2199
    assert climb(0.5, ()).note == ""


def check_scores_of_one_stride_are_not_compared() -> None:
    """The note names the outputs whose scores are low everywhere."""
    values = answers(network())
    values["cls_s32"] = values["cls_s32"] * 0 - 6
    (rung,) = ladder(decoder="").climb({"onnx": floats(values), "tflite": floats(values)})
    assert not rung.failures
    assert rung.note == "No score of cls_s32 is above 0.2 on these images: they were not compared."


def check_keypoints_lost() -> None:
    """Keypoints that moved by half a box are reported."""
    values = answers(network())
    recordings = forms(values)
    moved = dict(values) | {"keypoints": values["keypoints"] * -4 + 1}
    recordings["tflite"] = recordings["tflm"] = integers(moved)
    told = failing(recordings)
    assert any("keypoints keeps -" in text for text in told)
    assert any("keypoints of the same detections are" in text for text in told)
    assert not any("boxes of" in text for text in told)


def check_kernels_of_tflite_micro_round_by_two_steps_at_most() -> None:
    """TFLite Micro's kernels may differ by two steps."""
    recordings = forms(answers(network()))
    values = recordings["tflm"][0].values.copy()
    values[1, 2, 3] += 2 if values[1, 2, 3] < 0 else -2
    recordings["tflm"] = replace(recordings["tflm"], "box_s8", values)
    assert failing(recordings) == []
    values[1, 2, 3] += 1 if values[1, 2, 3] > recordings["tflite"][0].values[1, 2, 3] else -1
    assert failing(recordings) == [
        "tflite → tflm: box_s8 differs by 3 steps of its integers (at most 2) in TFLite Micro."
    ]


def check_a_calibration_set_spans_the_range_of_its_pixels() -> None:
    """A calibration set spans the range of pixels, so that the input's scale is 1/255."""
    import numpy as np

    dark = np.full((2, 4, 4, 3), 100, np.uint8)
    spanning = prepared_images.span_range(dark)
    assert (int(spanning.min()), int(spanning.max())) == (0, 255)
    assert int((spanning != dark).sum()) == 6
    assert prepared_images.span_range(spanning) is spanning


def check_no_number_fails_even_random_weights() -> None:
    """NaN fails, even with random weights."""
    values = answers(network())
    recordings = {"float-tflite": floats(values)}
    broken = values["keypoints"].copy()
    broken[0, 0, 0] = float("nan")
    recordings["tflite"] = replace(floats(values), "keypoints", broken)
    told = failing(recordings, trained=False, scheme="float16", decoder="")
    assert told[0].startswith(
        "float-tflite → tflite: keypoints has values that are NaN or infinite"
    )
    json.dumps([rung.as_json() for rung in ladder(decoder="").climb(recordings)], allow_nan=False)


def check_a_figure_is_judged_as_it_is_shown() -> None:
    """A figure is judged with the digits that are shown, and the verdict states whether it passed."""
    import numpy as np

    def part(value: float) -> output_figures.Part:
        return output_figures.Part(name="scores", kind="score", values=np.array([[value]]))

    for before, value, passed in ((0.75004, 0.25, True), (0.7504, 0.2504, False)):
        figure = output_figures.signal(part(before), part(0.5), 3.0)
        assert figure.as_json() == {
            "kind": "score",
            "figure": "mean difference of probability",
            "value": value,
            "limit": 0.25,
            "passed": passed,
        }
    assert output_figures.describe("scores", figure) == (
        "scores differs by 0.2504 in probability (at most 0.25)"
    )
    nan = output_figures.signal(part(float("nan")), part(0.5), 3.0)
    assert (nan.value, nan.passed) == (None, False)


def check_random_weights_are_not_judged() -> None:
    """Random weights get figures and a note, but no verdict."""
    values = answers(network())
    recordings = forms(values)
    recordings["tflite"] = recordings["tflm"] = integers(answers(network(), seed=5))
    assert failing(recordings, trained=False) == []
    rung = ladder(trained=False).climb(recordings)[2]
    assert rung.note == parity_ladder.NOT_JUDGED
    assert rung.as_json()["outputs"]["box_s8"]["limit"] is None
    assert rung.as_json()["outputs"]["box_s8"]["value"] is not None


def check_other_outputs_are_reported() -> None:
    """Missing outputs are reported before any arithmetic."""
    recordings = forms(answers(network()))
    recordings["onnx"] = recordings["onnx"][:-1]
    assert "keypoints [3, 84, 51] before and box_s16" in failing(recordings)[0]


def check_the_firmware_sees_the_order_of_the_file() -> None:
    """The emulated firmware gets the outputs in the file's order."""
    values = answers(network())
    recordings = {"tflite": integers(values, _HIMAX), "tflm": integers(values)}
    assert failing(recordings, decoder="himax-pose") == []
    recordings = {"tflite": integers(values), "tflm": integers(values, _HIMAX)}
    assert "in this order; the file has" in failing(recordings, decoder="himax-pose")[0]


def _random_integers(decoder: str, net: Network, seed: int) -> Recording:
    """Random outputs for a decoder over the whole range of int8."""
    import numpy as np

    if decoder.startswith("sscma") and decoder != "sscma-yolov8":
        return integers(answers(net, pictures=4, seed=seed))
    if decoder == "himax-pose":
        return integers(answers(net, pictures=4, seed=seed), _HIMAX)
    rng, cells = np.random.default_rng(seed), sum(net.cells())

    def output(name: str, shape: tuple[int, ...]) -> Output:
        values = rng.integers(-128, 128, (4, *shape)).astype(np.int8)
        return Output(name=name, values=values, scale=1 / 256, zero_point=-128)

    if decoder == "himax-od":
        return (output("boxes", (4, cells)), output("scores", (cells, net.classes)))
    return (output("detections", (4 + net.classes, cells)),)


def check_decoders_against_our_own() -> None:
    """The emulated decoders equal ours on random integers: within a pixel, within 0.02."""
    for decoder in emulated_decoders.THRESHOLDS:
        seen = 0
        for seed in range(20):
            pose = decoder.endswith("pose")
            net = network(17 if pose else 0, 1 if pose else 1 + seed % 7)
            figures, problems = firmware_rung.compare(
                decoder, _random_integers(decoder, net, seed), net
            )
            assert not problems, (decoder, problems)
            assert figures["boxes_px"] <= tolerances.FIRMWARE_PIXELS, (decoder, seed, figures)
            assert figures["scores"] <= tolerances.FIRMWARE_SCORE, (decoder, seed, figures)
            assert figures.get("keypoints_px", 0) <= tolerances.FIRMWARE_PIXELS, (decoder, figures)
            assert figures["unverified"]
            seen += figures["candidates"]
        assert seen > 100, decoder


def check_the_approximate_sigmoid() -> None:
    """The approximate sigmoid (Schraudolph) is within 0.01."""
    import numpy as np

    x = np.linspace(-20, 20, 40001, dtype=np.float32)
    near = 1 / (1 + arithmetic.fast_exp(-x))
    assert float(np.abs(near - 1 / (1 + np.exp(-x))).max()) < 0.01
    for value in (0.1, 0.43, 1.0, 2.33, 9.0):
        assert abs(arithmetic.fast_log(value) - float(np.log(value))) < 1e-3


def check_overflow_in_the_softmax_of_sscma() -> None:
    """SSCMA's softmax overflows for box logits of 100, and the box is lost."""
    values = answers(network())
    values["box_s8"] = values["box_s8"] * 20
    told = failing({"tflite": integers(values)})
    assert told
    assert "sscma-pose reports boxes that are" in told[0]
    assert failing({"tflite": integers(values, _HIMAX)}, decoder="himax-pose") == []


def check_pixels_in_a_single_output() -> None:
    """Boxes in pixels and scores in one output fail for SSCMA."""
    net = network(0, 3)
    (single,) = _random_integers("sscma-yolov8", net, 0)
    pixels = (Output(name=single.name, values=single.values, scale=0.9, zero_point=-128),)
    _, problems = firmware_rung.compare("sscma-yolov8", pixels, net)
    assert "scale is 0.9: from 0.1 on" in problems[0]


def check_floats_are_not_what_a_firmware_reads() -> None:
    """Float outputs are refused for a firmware that reads int8."""
    values = answers(network())
    assert "sscma-pose reads int8 outputs with a scale; " in failing({"tflite": floats(values)})[0]


def check_himax_reports_at_most_forty() -> None:
    """Himax's firmware reports at most forty objects."""
    import numpy as np

    net = network(0, 1)
    cells = sum(net.cells())
    boxes = np.full((1, 4, cells), -128, np.int8)  # of size 0, so that none overlap
    scores = np.full((1, cells, 1), 127, np.int8)
    tensors = tuple(
        arithmetic.Tensor(values=v, scale=1 / 256, zero_point=-128) for v in (boxes, scores)
    )
    found = emulated_decoders.decode("himax-od", tensors, net)
    assert isinstance(found, emulated_decoders.Reported)
    assert len(found.cells) == cells
    assert len(found.kept) == emulated_decoders.MOST_HIMAX_RESULTS


def check_scores_are_measured_apart_from_pixels() -> None:
    """Scores of a decoded head are compared separately from its pixels."""
    import numpy as np

    cells = sum(network().cells())
    wanted = np.random.default_rng(0).uniform(0, SIDE, (1, 6, cells)).astype(np.float32)
    wanted[:, 4:] = 0.9
    found = np.rint(wanted / 0.5) * 0.5
    found[:, 4:] = 0
    parts = (output_figures.split("detections", values, 2) for values in (wanted, found))
    figures = {
        one.name: output_figures.signal(one, other, None).value
        for one, other in zip(*parts, strict=True)
    }
    assert set(figures) == {"detections (boxes)", "detections (scores)"}
    lost = figures["detections (scores)"]
    assert lost is not None
    assert abs(lost - 0.9) < 1e-6


def check_the_rows_behind_the_scores_have_the_name_of_the_task() -> None:
    """Rows behind the scores are keypoints, mask coefficients or an angle, as the network's task
    has them.
    """
    import numpy as np

    for rows, keypoints, name, kind in (
        (12, 4, "keypoints", "keypoint"),
        (32, 0, "mask coefficients", "other"),
        (1, 0, "angles", "other"),
        (5, 0, "further values", "other"),
    ):
        values = np.zeros((1, 6 + rows, 84), np.float32)
        *_, last = output_parts.split("detections", values, 2, keypoints)
        assert (last.name, last.kind) == (f"detections ({name})", kind)
        assert last.values.shape == (1, rows, 84)
    assert len(output_parts.split("detections", np.zeros((1, 6, 84)), 2, 0)) == 2


def check_a_decoded_head_is_compared_in_pixels() -> None:
    """A decoded head's boxes are compared in pixels: 0.01 pixel passes, 0.01 of a score fails."""
    import numpy as np

    values = {"detections": np.full((1, 5, 84), 0.5, np.float32)}
    values["detections"][:, :4] = 50
    moved = {"detections": values["detections"].copy()}
    moved["detections"][:, :4] += 0.01
    net: dict[str, Any] = {"head": "decoded", "network": network(0), "decoder": ""}
    assert failing({"onnx": floats(values), "float-tflite": floats(moved)}, **net) == []
    moved["detections"][:, 4:] += 0.01
    assert failing({"onnx": floats(values), "float-tflite": floats(moved)}, **net) == [
        "onnx → float-tflite: detections (scores) differs by 0.01 (at most 0.001)."
    ]


def check_what_a_decoder_cannot_read_is_reported() -> None:
    """A layout that the decoder cannot read is reported, also with random weights."""
    import numpy as np

    values = {"detections": np.random.default_rng(0).uniform(0, 1, (3, 84, 84)).astype(np.float32)}
    values["detections"][:, :4] *= SIDE
    recordings = {form: floats(values) for form in ("checkpoint", "onnx", "float-tflite")}
    recordings["tflite"] = integers(values)
    changes = {"head": "decoded", "network": network(0, 80), "decoder": "himax-od"}
    assert failing(recordings, trained=False, **changes) == [
        "tflite → decoder: himax-od decodes [1, 4, 84], [1, 84, 80] in this order; the file has"
        " [1, 84, 84]."
    ]
    rungs = ladder(trained=False, **changes).climb(recordings)
    assert rungs[2].note == parity_ladder.NOT_JUDGED
    assert "not judged" in parity_ladder.NOT_JUDGED


def check_unnamed_rows_have_limits_of_their_own() -> None:
    """The rows of an unnamed output have separate limits for pixels and scores."""
    import numpy as np

    values = np.full((1, 84, 8400), 0.5, np.float32)
    values[:, :4] = np.linspace(0, 640, 8400)
    moved = values.copy()
    moved[:, :4] += 0.05
    net: dict[str, Any] = {"head": "none", "network": network(0, 0), "decoder": ""}
    recordings = {"onnx": floats({"output0": values}), "float-tflite": floats({"output0": moved})}
    assert failing(recordings, **net) == []
    worst = conversion.require_close("", {"a": values}, {"a": moved})
    assert abs(worst["a"] - 0.05) < 1e-4
    moved[:, 7] += 0.01
    recordings["float-tflite"] = floats({"output0": moved})
    assert failing(recordings, **net) == [
        "onnx → float-tflite: output0 differs by 0.01 (at most 0.001)."
    ]


def check_maps_may_have_their_channels_last() -> None:
    """A map may have its channels last; the order is found by shape, or by value if all axes are
    equal.
    """
    import numpy as np

    random = np.random.default_rng(0)
    for shape in ((1, 16, 24, 24), (1, 8, 8, 8)):
        values = random.normal(0, 1, shape).astype(np.float32)
        last = values.transpose(0, 2, 3, 1)
        match = conversion.match_outputs({"map": values}, {"0": last})["map"]
        assert match == conversion.Match(key="0", turned=True)
        kept = conversion.match_outputs({"map": values}, {"0": values})["map"]
        assert kept == conversion.Match(key="0", turned=False)
        net: dict[str, Any] = {"head": "none", "network": network(0, 0), "decoder": ""}
        recordings = {"onnx": floats({"map": values}), "float-tflite": floats({"map": last})}
        assert failing(recordings, **net) == []
        recordings["float-tflite"] = floats({"map": last + np.float32(0.1)})
        assert "map differs by 0.1" in failing(recordings, **net)[0]


def check_outputs_that_hardly_vary_need_a_longer_training() -> None:
    """In float16 the advice is to train longer where the outputs of a hardly trained network vary
    by its steps alone, and to look for an overflow elsewhere.
    """
    import numpy as np

    params = examine_onnx.Params(
        names=("other",),
        head="none",
        classes=1,
        keypoints=0,
        keypoint_dims=0,
        preprocessing=Preprocessing(height=SIDE, width=SIDE, color="rgb", resize="letterbox"),
        scheme="float16",
        trained=True,
        count=1,
    )
    noise = np.random.default_rng(0).standard_normal((1, 4, 84)).astype(np.float32)

    def advice(before: Any, after: Any) -> str:
        recordings = {"onnx": floats({"other": before}), "quantized-onnx": floats({"other": after})}
        (text,) = examine_onnx.climb(recordings, params).failures
        return str(text)

    faint = 2 + 0.0005 * noise
    assert "train longer" in advice(faint, faint.astype(np.float16).astype(np.float32))
    assert "overflow" in advice(noise, noise[:, ::-1])
    broken = faint.copy()
    broken[0, 0, 0] = np.nan
    assert "overflow" in advice(faint, broken)


def check_a_stock_files_outputs_are_named() -> None:
    """Outputs of Ultralytics' standard file are identified, and prototypes get TFLite's axes."""
    import numpy as np

    from buildsys.spec import Preprocessing
    from buildsys.steps.lib.datasets.ultralytics_layout import Split
    from buildsys.steps.lib.metrics import accuracy

    frame = Preprocessing(height=SIDE, width=SIDE, color="rgb", resize="letterbox")
    reading = accuracy.Params(
        split=Split(name="val", paths=()),
        classes=("a",),
        keypoints=0,
        keypoint_dims=0,
        sigmas=(),
        head="decoded",
        preprocessing=frame,
        task="segment",
    )
    found = {"output0": np.zeros((1, 37, 84)), "output1": np.zeros((1, 32, 16, 16))}
    named = accuracy.name_outputs(found, reading)
    assert {name: value.shape for name, value in named.items()} == {
        "detections": (1, 37, 84),
        "prototypes": (1, 16, 16, 32),
    }


def check_outputs_of_other_names_are_found_by_their_shapes() -> None:
    """Outputs in another order, with names of another tool, get the head's names by shape."""
    import numpy as np

    from buildsys.spec import Preprocessing
    from buildsys.steps.lib.datasets.ultralytics_layout import Split
    from buildsys.steps.lib.metrics import accuracy

    frame = Preprocessing(height=SIDE, width=SIDE, color="rgb", resize="letterbox")
    reading = accuracy.Params(
        split=Split(name="val", paths=()),
        classes=("a", "b"),
        keypoints=4,
        keypoint_dims=3,
        sigmas=(),
        head="raw",
        preprocessing=frame,
        task="pose",
    )
    wanted = {tensor.name: tensor.shape for tensor in head_outputs("raw", SIDE, SIDE, 2, 4, 3)}
    found = {
        f"box_serving:{place}": np.full(shape, place)
        for place, shape in enumerate(reversed(wanted.values()))
    }
    named = accuracy.name_outputs(found, reading)
    assert {name: value.shape for name, value in named.items()} == wanted
    assert [int(value.flat[0]) for value in named.values()] == list(range(len(wanted)))


def check_outputs_of_another_head_end_the_step() -> None:
    """A stock file of 80 classes is not one of a single class; further outputs may be there."""
    import numpy as np

    from buildsys.steps.lib.metrics import accuracy

    reading = _reading("decoded", "detect", keypoints=0)
    stock = {"output0": np.zeros((1, 84, 84))}
    message = _failure(lambda: accuracy.name_outputs(stock, reading))
    assert "has output0 [1, 84, 84]" in message
    assert "list every class" in message
    found = {"more": np.zeros((1, 2)), "detections": np.zeros((1, 6, 84))}
    assert accuracy.name_outputs(found, reading).keys() == found.keys()


def check_keypoints_in_pixels_are_not_taken_for_shares() -> None:
    """Keypoints far above 1 end the step for a head whose keypoints are shares of the image."""
    import numpy as np

    from buildsys.steps.lib.metrics import accuracy

    reading = _reading("normalized", "pose", keypoints=4)
    rows = np.random.default_rng(0).random((1, 4 + 2 + 4 * 3, 84))
    boxes, _, points = accuracy.decode({"detections": rows}, reading)
    assert len(boxes) == len(points) == 84
    rows[:, 6:] *= SIDE
    message = _failure(lambda: accuracy.decode({"detections": rows}, reading))
    assert "has keypoints in pixels and boxes as shares" in message


def _failure(call: Callable[[], object]) -> str:
    """The message with which a call ends the step."""
    from buildsys.steps.lib.runtime.progress import StepError

    try:
        call()
    except StepError as error:
        return str(error)
    return ""


def _reading(head: str, task: str, keypoints: int) -> Any:
    """How a network of two classes is read."""
    from buildsys.spec import Preprocessing
    from buildsys.steps.lib.datasets.ultralytics_layout import Split
    from buildsys.steps.lib.metrics import accuracy

    return accuracy.Params(
        split=Split(name="val", paths=()),
        classes=("a", "b"),
        keypoints=keypoints,
        keypoint_dims=3 if keypoints else 0,
        sigmas=(),
        head=head,
        preprocessing=Preprocessing(height=SIDE, width=SIDE, color="rgb", resize="letterbox"),
        task=task,
    )


def _yolox(values: Any, head: str) -> dict[str, Any]:
    """The outputs of a head from rows [n, N, 5 + classes], with boxes as raw values or pixels."""
    if head == "yolox-split":
        return {
            "boxes": values[..., :4],
            "objectness": values[..., 4:5],
            "classes": values[..., 5:],
        }
    return {"detections" if head == "yolox-decoded" else "predictions": values}


def check_yolox_heads_climb_and_say_their_own_cure() -> None:
    """YOLOX heads pass the ladder, and their messages name their own remedy."""
    import numpy as np

    rng, cells = np.random.default_rng(0), sum(network().cells())
    values = rng.uniform(0, 0.1, (3, cells, 7)).astype(np.float32)
    values[:, ::5, 4:] = rng.uniform(0.8, 1, values[:, ::5, 4:].shape)
    values[..., :4] = rng.normal(0.5, 0.4, (3, cells, 4))
    flat = values.copy()
    flat[..., 4] = 0.1
    for head in ("yolox-concatenated", "yolox-split", "yolox-decoded"):
        if head == "yolox-decoded":
            for rows in (values, flat):
                rows[..., :4] = rng.uniform(8, 56, (3, cells, 4))
            flat[..., :4] = values[..., :4]
        sound = {"onnx": floats(_yolox(values, head)), "tflite": floats(_yolox(values, head))}
        net = network(keypoints=0, classes=2)
        rungs = ladder(head=head, network=net, decoder="").climb(sound)
        assert not any(rung.failures for rung in rungs)
        assert rungs[0].detections["in_both"] == rungs[0].detections["from"] > 0
        lost = sound | {"tflite": floats(_yolox(flat, head))}
        told = " ".join(
            text
            for rung in ladder(head=head, network=net, decoder="").climb(lost)
            for text in rung.failures
        )
        assert "differs by" in told
        assert "scores of the same detections" in told
        assert output_figures.head_cure(head) in told
        assert output_figures.RAW_HEAD not in told


def check_boxes_where_nothing_is_seen_are_not_judged() -> None:
    """Boxes at a stride without objects are not judged: YOLO26's are nearly constant there, and
    int8 loses them. With objects they are judged.
    """
    import numpy as np

    rng, net = np.random.default_rng(0), network(keypoints=0)
    values = {}
    for tensor in head_outputs("yolo26-raw", SIDE, SIDE, 1, 0, 0):
        shape = (3, *tensor.shape[1:])
        seen = rng.random(shape) < 0.3
        values[tensor.name] = (
            np.where(seen, 3.0, -6.0) if tensor.name.startswith("cls") else rng.random(shape) * 4
        ).astype(np.float32)
    values["cls_s32"] = np.full_like(values["cls_s32"], -6)
    lost = values | {"box_s32": np.flip(values["box_s32"], 1).copy()}
    told = ladder(head="yolo26-raw", network=net, decoder="")
    (rung,) = told.climb({"onnx": floats(values), "tflite": floats(lost)})
    assert not rung.failures
    assert rung.outputs["box_s32"].limit is None
    for side in (values, lost):
        side["cls_s32"] = np.full_like(values["cls_s32"], 3)
    (rung,) = told.climb({"onnx": floats(values), "tflite": floats(lost)})
    assert any("box_s32 keeps" in text for text in rung.failures)


def check_rows_of_cells_and_columns_of_cells_are_distinguished() -> None:
    """Rows per cell and columns per cell are distinguished even if both axes have 84 entries."""
    assert output_figures.has_objectness((1, 84, 85), 80)
    assert not output_figures.has_objectness((1, 84, 84), 80)
    assert not output_figures.has_objectness((1, 83, 84), 79)


def _edge(name: str, shape: tuple[int, ...], scale: float | None) -> signal.Edge:
    return signal.Edge(name=name, shape=shape, dtype="int8", scale=scale)


def check_one_scale_for_pixels_and_scores() -> None:
    """One scale for pixels and scores is found from the file; a raw head's keypoints are not
    reported.
    """
    cells = sum(network().cells())
    (told,) = signal.shared_scale((_edge("output0", (1, 84, cells), 3.2),), cells)
    assert told.startswith(
        f"output0 [1, 84, {cells}] holds boxes and scores in one int8 tensor with the scale 3.2: a"
        " score from 0 to 1 has 0.3 steps (at least 16), so nothing is detected. Cure: export the"
        " raw head, as buildsys does from a .pt file"
    )
    assert signal.shared_scale((_edge("output0", (1, cells, 84), 3.2),), cells)
    assert not signal.shared_scale((_edge("output0", (1, 84, cells), 1 / 255),), cells)
    raw = (_edge("keypoints", (1, cells, 51), 3.2), _edge("cls_s8", (1, 64, 1), 0.1))
    assert not signal.shared_scale(raw, cells)


def check_what_stands_still_is_named() -> None:
    """An output that is constant in all cells and images is reported; one different cell passes."""
    import numpy as np

    values = np.full((2, 64, 3), -128, np.int8)
    (told,) = signal.standstill("cls_s8", values, 1)
    assert told.startswith(
        "cls_s8 is constant: the same in all 64 cells of 2 images (-128 int8). Cure: "
    )
    values[1, 5, 0] = 3
    assert not signal.standstill("cls_s8", values, 1)
    assert not signal.standstill("cls_s32", values[:1, :1], 1)  # a single cell is not judged


def check_saturation_is_named() -> None:
    """An output with more than half of its values at a limit is reported."""
    import numpy as np

    values = np.arange(-128, 128).astype(np.int8)
    assert signal.saturated("box_s8", values)[1] == []
    assert output_figures.RAW_HEAD not in output_figures.still_cure("raw"), "it is raw already"
    assert output_figures.still_cure("raw").startswith(output_figures.TRAIN)
    share, (told,) = signal.saturated("box_s8", np.maximum(values, 100) + np.int8(27))
    assert share > 0.5
    assert told.startswith("box_s8 is saturated: ")


def check_no_numbers_are_named() -> None:
    """NaN and infinity in a float file are reported."""
    import numpy as np

    values = np.array([1.0, np.nan, np.inf, 2.0], np.float16)
    (told,) = signal.not_numbers("box_s8", values)
    assert told.startswith("box_s8: 50% of the values are NaN or infinite.")


def write(folder: Path) -> None:
    """Write recordings of a network with lost int8 boxes, for the step."""
    values = answers(network())
    recordings = forms(values)
    broken = dict(values) | {"box_s8": answers(network(), seed=5)["box_s8"]}
    recordings["tflite"] = recordings["tflm"] = integers(broken)
    for form, recording in recordings.items():
        recording_files.save(folder / f"{form}.npz", recording)


def main() -> None:
    """Run every check; print the faults by name."""
    faults = {}
    for name, check in sorted(globals().items()):
        if name.startswith("check_"):
            try:
                check()
                faults[name] = ""
            except Exception:  # noqa: BLE001  each check's fault is reported
                faults[name] = traceback.format_exc()
    print(json.dumps(faults))


if __name__ == "__main__":
    write(Path(sys.argv[1])) if len(sys.argv) > 1 else main()
