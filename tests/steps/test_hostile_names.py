"""Names from recipes, data, tools and servers in every text for users.

A page has the same headings, lists, cells and code with any names in it.
"""

import dataclasses
import shlex
from pathlib import Path
from typing import Any

import pytest
from markdown_it import MarkdownIt

from buildsys.escaping import terminal
from buildsys.operations import bundle
from buildsys.spec import Preprocessing, TensorSpec
from buildsys.steps.build_engine import Params as EngineParams
from buildsys.steps.lib.datasets import survey_text
from buildsys.steps.lib.packages import (
    engine_readme,
    flash,
    flash_files,
    linux_readme,
    saved_model_readme,
    triton_readme,
)
from buildsys.steps.lib.packages.network_description import Network
from buildsys.steps.lib.report import markdown
from tests.operations.flash_stand_in import make_model
from tests.report.engine_sample import engines_report
from tests.report.report_sample import sample
from tests.steps.test_flash_plan import GROVE, XIAO

PLAIN = "word"
HOSTILE = (
    "w\x1b[2J\x07\r\n\n::error::x\n# b\n- c\n<script>alert(1)</script><img src=x>|d`e``f"
    "](javascript:g) [h](javascript:i) ![j](k) **l** _m_ ~~n~~ [bold red]\u202eo <https://p> ``` &lt;"
)
"""A name with a special character for every output format."""
_WORDS = {
    *("status", "label", "library", "scheme", "format", "task", "kind", "figure", "form", "name"),
    *("what", "engine", "sha256", "id", "compute_capability", "version", "drawing"),
}
"""Fields of a report whose values the program defines or has validated."""
READER = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])


def planted(value: Any, word: str, kept: frozenset[str] = frozenset()) -> Any:
    """The value with a word appended to every text in it, except in some fields."""
    if isinstance(value, str):
        return value + word if value else value
    if isinstance(value, tuple):
        return tuple(planted(item, word, kept) for item in value)
    if not dataclasses.is_dataclass(value) or isinstance(value, type):
        return value
    fields = {f.name: getattr(value, f.name) for f in dataclasses.fields(value) if f.init}
    changed = {k: v if k in kept else planted(v, word, kept) for k, v in fields.items()}
    return dataclasses.replace(value, **changed)


def structure(text: str) -> list[str]:
    """The structure of a Markdown text, without its words."""
    assert terminal(text) == text, "a control character was written"
    found = []
    for token in READER.parse(text):
        found.append(token.type)
        found += [t.type for t in token.children or () if t.type not in ("text", "softbreak")]
    return [kind for kind in found if kind != "text_special"]


def same(plain: str, hostile: str) -> None:
    """Check that two texts have the same structure and that the second contains its words."""
    assert structure(hostile) == structure(plain)
    assert "alert(1)" in hostile


NET = Network(
    name="tags",
    label="A board",
    task="detect",
    head="raw",
    outputs=("box",),
    classes=("cat",),
    keypoints=0,
    keypoint_dims=0,
    preprocessing=None,
    scheme="int8",
    batch=(1, 1, 1),
)
LINUX = linux_readme.Described(
    name="tags",
    label="A board",
    file="tags.tflite",
    bytes=1,
    sha256="0" * 64,
    scheme="int8",
    task="other",
    head="raw",
    measured=True,
    outputs=(linux_readme.Row(name="box", shape=(1,), dtype="int8", meaning="boxes"),),
    strides=(8,),
)
TRITON = triton_readme.Described(
    network=NET,
    file="triton/tags/1/model.onnx",
    bytes=1,
    sha256="0" * 64,
    pictures=1,
    largest_batch=1,
    tensors=(("box", (1, -1)),),
    measured=True,
)
ENGINE = engine_readme.Described(
    network=NET,
    library="tensorrt",
    version="10.3",
    file="triton/tags/1/model.plan",
    bytes=1,
    sha256="0" * 64,
    gpus="compute capability 8.7, as it was built on: GPU",
    newer=False,
    pictures=1,
    largest_batch=1,
    tensors=(("box", (1, -1)),),
    measured=True,
    lowered=False,
    jetson=False,
)
SAVED = saved_model_readme.Params(
    stem="tags",
    classes=("cat",),
    preprocessing=Preprocessing(height=8, width=8, color="rgb", resize="letterbox"),
    outputs=(TensorSpec(name="box", shape=(1, 2)),),
    head="raw",
    converter="onnx2tf",
)


@pytest.mark.parametrize(
    ("describe", "package", "kept"),
    [
        (linux_readme.describe, LINUX, {"sha256"}),
        (triton_readme.describe, TRITON, {"sha256"}),
        (engine_readme.describe, ENGINE, {"sha256", "library", "version"}),
        (saved_model_readme.describe, SAVED, {"color"}),
    ],
)
def test_the_readme_of_a_package(describe: Any, package: Any, kept: set[str]) -> None:
    """Hostile names of classes, outputs, heads, GPU, board and file in a package's README."""
    plain, hostile = (
        describe(planted(package, w, frozenset(kept | {"resize"}))) for w in (PLAIN, HOSTILE)
    )
    same(plain, hostile)


@pytest.mark.parametrize("given", [GROVE, XIAO], ids=["grove", "xiao"])
def test_the_readme_of_a_flash_plan(given: flash.FlashParams, tmp_path: Path) -> None:
    """Hostile labels, notes, firmware names and sources in a flash plan's README."""
    given = dataclasses.replace(given, source="SSCMA 1.0, from its README", verified=False)
    texts = []
    for word in (PLAIN, HOSTILE):
        params = planted(given, word, frozenset({"flash", "target", "task", "algorithm"}))
        (tmp_path / "model.tflite").write_bytes(make_model("tags"))
        flash_files.write_plan(tmp_path, "model.tflite", params)
        texts.append((tmp_path / "README.md").read_text())
    plain, hostile = (
        "\n".join(line for line in text.split("\n") if "AT+INFO" not in line) for text in texts
    )
    same(plain, hostile)


def test_the_readme_of_a_bundle() -> None:
    """Hostile names of the board, the GPU and an input in a bundle's README."""
    params = EngineParams(
        library="tensorrt",
        version="10.3",
        compute_capability="8.7",
        workspace_gib=1,
        optimization_level=3,
        version_compatible=False,
        hardware_compatibility="none",
        scheme="int8",
    )
    given = bundle.BundleReadme(
        build="tags@jetson-orin",
        label="NVIDIA Jetson Orin",
        install="pip install tensorrt",
        params=params,
        gpu="Orin",
        shapes="--shapes=images:1x3x8x8",
        files=("model.onnx",),
    )
    kept = frozenset({"params", "build", "install"})
    plain, hostile = (bundle.describe(planted(given, word, kept)) for word in (PLAIN, HOSTILE))
    same(plain, hostile)
    command = next(line for line in hostile.split("\n") if "--loadEngine" in line)
    assert len(shlex.split(command)) == 4


def test_the_report() -> None:
    """Hostile boards, files, devices, licence notes and log lines in the report."""
    kept = frozenset(_WORDS)
    for report in (sample(), engines_report()):
        texts = [
            markdown.render(planted(report, word.replace("\r\n", "").replace("\n", " "), kept))
            for word in (PLAIN, HOSTILE)
        ]
        same(*texts)


def test_a_look_at_data() -> None:
    """Hostile files, folders and classes in the data inspection."""

    def page(word: str) -> str:
        split: dict[str, Any] = {
            "name": f"val{word}",
            "pictures": 1,
            "unreadable": 0,
            "classes": {f"a{word}": 1, f"b{word}": 1},
        }
        split |= {"without_label_file": 0, "empty_label_file": 0, "objects": 2, "at_input": []}
        finding = {"path": f"a/{word}.jpg", "line": 3, "severity": "error", "message": word}
        report = {
            "title": f"tags {word}",
            "splits": [split],
            "classes": list(split["classes"]),
            "findings": [finding],
            "sheet": [f"{word}.jpg"],
            "shape": "box",
            "inputs": [],
            "keypoints": False,
        }
        return survey_text.render_page(report)

    same(page(PLAIN), page(HOSTILE))
