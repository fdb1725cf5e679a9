"""model.json of a TFLite file: each output's meaning and axis order."""

import json
from pathlib import Path

import pytest

from buildsys.spec import Preprocessing
from buildsys.steps.lib.files import tflite
from buildsys.steps.lib.packages.edges import describe_file, name_layouts
from tests.given_models import Edge, tflite_bytes

MAP, ROWS = Edge(name="heat", shape=(1, 24, 24, 16)), Edge(name="rows", shape=(1, 84, 315))


@pytest.mark.parametrize(
    ("outputs", "found", "told"),
    [
        ((MAP, ROWS), {"heat": "NHWC"}, ("NHWC", "")),
        ((MAP,), {}, ("as in the ONNX file",)),
        ((MAP,), {"name that a compiler dropped": "NHWC"}, ("NHWC",)),
        ((MAP,), None, ("",)),
        ((Edge(name="prototypes", shape=(1, 24, 24, 32)),), {}, ("NHWC",)),
    ],
    ids=["turned", "kept", "renamed", "not converted", "of a known head"],
)
def test_layouts(
    tmp_path: Path, outputs: tuple[Edge, ...], found: dict[str, str] | None, told: tuple[str, ...]
) -> None:
    """Only outputs with four axes have a layout; for a source TFLite file it is unknown."""
    file = tflite.parse(tflite_bytes(outputs=outputs))
    place = tmp_path / "layouts.json"
    place.write_text(json.dumps(found))
    assert name_layouts(file, place if found is not None else None) == told


def test_a_file_is_described(tmp_path: Path) -> None:
    """Names from a contract are used before the file's own."""
    (tmp_path / "layouts.json").write_text('{"heat": "NHWC"}')
    file = tflite.parse(tflite_bytes(outputs=(MAP, ROWS)))
    told = describe_file(file, ("a", "b"), None, tmp_path / "layouts.json")
    assert [(row["name"], row.get("layout")) for row in told["outputs"]] == [
        ("a", "NHWC"),
        ("b", None),
    ]
    assert told["operators"] == {"CONV_2D": 1}
    frame = Preprocessing(height=64, width=64, color="rgb", resize="letterbox")
    values = describe_file(file, (), frame, None)["preprocessing"]["values"]
    assert "divided by its scale, plus its zero point" in values, "true for every integer input"
