"""Hostile and accidental input files: each gives one message at its position, as a golden file.

The inputs are made here, because most are not text, or very long. `UPDATE_GOLDEN=1 pytest
tests/authoring/test_hostile.py` rewrites the messages; review the diff.
"""

import os
import shutil
import socket
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from buildsys import cli
from tests.authoring.golden import HERE, compare
from tests.authoring.sample_workspace import (
    TAGS_SHA256,
    expecting,
    make_workspace,
    write_recipe,
    write_target,
)
from tests.execution.test_shared import without_privileges

_BASE = """\
name: hostile
source: {family: ultralytics, task: pose, architecture: yolov8n-pose, weights: WEIGHTS}
dataset: {path: DATA}
input: {size: SIZE}
train: {epochs: EPOCHS}
quantization: {scheme: int8, calibration: {split: train, count: COUNT}}
evaluate: {gates: {box.mAP50-95: {max_drop: DROP}}}
targets: [host, TARGET]
"""
_FINE = {
    "WEIGHTS": f"{{path: weights/tags.pt, sha256: {TAGS_SHA256}}}",
    "DATA": "data/tags/data.yaml",
    "SIZE": "192",
    "EPOCHS": "4",
    "COUNT": "1",
    "DROP": "0.01",
    "TARGET": "xiao-esp32s3",
}


def _recipe(**changes: str) -> bytes:
    text = _BASE
    for key, value in (_FINE | changes).items():
        text = text.replace(key, value)
    return text.encode()


def _bomb() -> str:
    """Nested lists that expand to nine to the ninth words."""
    lists = ["&a0 [" + ", ".join(["lol"] * 9) + "]"]
    lists += [f"&a{n} [" + ", ".join([f"*a{n - 1}"] * 9) + "]" for n in range(1, 10)]
    return "".join(f"  - {line}\n" for line in lists)


_FILES: dict[str, bytes] = {
    # encodings and characters
    "utf-16": _recipe().decode().encode("utf-16"),
    "utf-16-without-mark": _recipe().decode().encode("utf-16-be"),
    "utf-32": _recipe().decode().encode("utf-32"),
    "latin-1": _recipe().replace(b"input:", "# für die Kamera\ninput:".encode("latin-1")),
    "nul": _recipe().replace(b"train:", b"tr\0ain:"),
    "escape": _recipe().replace(b"name:", b"\x1b[31mname:"),
    "c1-control": _recipe().replace(b"train:", "# \x9b31m\ntrain:".encode()),
    "nul-in-quotes": _recipe(DATA='"data/\\0tags"'),
    "lone-surrogate": _recipe(DATA='"data/\\ud800tags"'),
    "control-in-key": _recipe().replace(b"train:", b'"tr\\0ain":'),
    "right-to-left": _recipe(TARGET='"\u202eexample"'),
    "tab-behind-key": _recipe().replace(b"train: {epochs: 4}", b"train:\n\t\tepochs: 4"),
    "mark-in-the-middle": _recipe().replace(b"train:", "\ufefftrain:".encode()),
    # YAML features that recipes do not support
    "bomb": _recipe() + b"export:\n" + _bomb().encode(),
    "bomb-in-keys": _recipe() + b"export: {a: &a {b: 1}, <<: *a, <<: *a}\n",
    "merge-of-itself": _recipe() + b"export: &a {<<: *a}\n",
    "python-object": _recipe(DATA='!!python/object/apply:os.system ["touch hacked"]'),
    "own-tag": _recipe(SIZE="!pixels 192"),
    "set": _recipe(SIZE="!!set {192}"),
    "binary": _recipe(DATA="!!binary aGVsbG8="),
    "truth-that-is-none": _recipe(SIZE="!!bool perhaps"),
    "several-documents": _recipe() + b"---\n" + _recipe(),
    "key-is-number": _recipe() + b"1: 2\n",
    "key-is-nothing": _recipe() + b"null: 2\n",
    "key-is-truth": _recipe() + b"true: 2\n",
    "key-is-empty": _recipe() + b"? \n: 2\n",
    "key-is-list": _recipe() + b"? [a, b]\n: 2\n",
    "key-is-block": _recipe() + b"? {a: b}\n: 2\n",
    "deep-flow": b"a: " + b"[" * 50_000,
    "deep-block": b"".join(b" " * n + b"a:\n" for n in range(500)),
    "deep-in-moderation": _recipe() + b"export: " + b"{a: " * 40 + b"1" + b"}" * 40 + b"\n",
    "anchor-without-end": _recipe() + b"export: &" + b"a" * 100_000 + b" {opset: 13}\nx: *b\n",
    # size
    "key-without-end": _recipe() + b"a" * 100_000 + b": 1\n",
    "quoted-key-without-end": _recipe() + b'? "' + b"a b " * 10_000 + b'"\n: 1\n',
    "value-without-end": _recipe(TARGET="x" * 100_000),
    "words-without-end": _recipe(TARGET='"' + "x y " * 10_000 + '"'),
    "task-without-end": _recipe().replace(b"task: pose", b"task: " + b"p" * 100_000),
    "path-without-end": _recipe(DATA="d/" * 10_000),
    "mistake-in-a-long-line": _recipe(DROP="0.01," + " " * 400 + "mn: 0.1" + " " * 400),
    "file-without-end": _recipe() + b"# " + b"x" * (1 << 20),
    "targets-without-end": _recipe(TARGET="host, " * 5_000),
    "builds-without-end": _recipe(
        TARGET=", ".join(f"{{target: host, as: h{n}}}" for n in range(99))
    )
    + f"matrix: {{train.seed: {list(range(30))}}}\n".encode(),
    # numbers
    "number-of-digits": _recipe(EPOCHS="9" * 100_000),
    "number-in-hexadecimal": _recipe(EPOCHS="0x" + "f" * 100_000),
    "number-in-octal": _recipe(SIZE="0o" + "7" * 1_000),
    "number-beyond-64-bits": _recipe(SIZE="9223372036854775808"),
    "number-with-exponent": _recipe(DROP="1e999"),
    "number-infinite": _recipe(DROP=".inf"),
    "number-none": _recipe(DROP=".nan"),
    "number-none-of-rate": _recipe(EPOCHS="4, learning_rate: .nan"),
    "size-of-a-wall": _recipe(SIZE="[192, 4611686018427387904]"),
    "size-below-nothing": _recipe(SIZE="-32"),
    "epochs-for-ever": _recipe(EPOCHS="1000000000000"),
    "count-of-nothing": _recipe(COUNT="-1"),
    "seed-of-stars": _recipe(EPOCHS="4, seed: 99999999999"),
    # paths
    "path-absolute": _recipe(DATA="/etc/passwd"),
    "path-of-a-drive": _recipe(DATA="C:/data/data.yaml"),
    "path-above": _recipe(DATA="data/../../elsewhere/data.yaml"),
    "path-at-home": _recipe(DATA="~/data/data.yaml"),
    "path-with-backslash": _recipe(DATA="data\\tags\\data.yaml"),
    "path-with-line-break": _recipe(DATA='"data\\ntags"'),
    "path-empty": _recipe(DATA='""'),
    "path-of-spaces": _recipe(DATA='"  "'),
    "path-by-link": _recipe(DATA="linked/data.yaml"),
    "path-by-link-of-file": _recipe(DATA="data/linked.yaml"),
    "path-by-link-to-itself": _recipe(DATA="loop/data.yaml"),
    "weights-absolute": _recipe(WEIGHTS=f"{{path: /w/tags.pt, sha256: {TAGS_SHA256}}}"),
    "weights-above": _recipe(WEIGHTS=f"{{path: ../tags.pt, sha256: {TAGS_SHA256}}}"),
    "weights-by-link": _recipe()
    .replace(b"ultralytics", b"onnx")
    .replace(_FINE["WEIGHTS"].encode(), b"{path: linked.onnx}"),
    "weights-without-end": _recipe()
    .replace(b"ultralytics", b"tflite")
    .replace(_FINE["WEIGHTS"].encode(), b"{path: " + b"w" * 500 + b"}"),
    "weights-url-with-a-password": _recipe(
        WEIGHTS=f"{{url: 'https://me:secret@models.example/x.pt', sha256: {TAGS_SHA256}}}"
    ),
    "weights-from-a-file-url": _recipe(
        WEIGHTS=f"{{url: 'file:///etc/passwd', sha256: {TAGS_SHA256}}}"
    ),
    "weights-from-an-odd-url": _recipe(WEIGHTS=f"{{url: 'https://a b/c', sha256: {TAGS_SHA256}}}"),
    "pictures-absolute": _recipe().replace(b"split: train", b"images: '/data/*.jpg'"),
    "pictures-above": _recipe().replace(b"split: train", b"images: 'data/**/../../../*.jpg'"),
    "pictures-by-link": _recipe().replace(b"split: train", b"images: 'linked/**/*.jpg'"),
    "pictures-above-a-wildcard": _recipe().replace(
        b"split: train", b"images: 'data/**/../cam/*.jpg'"
    ),
    "config-above": _recipe(TARGET="{target: grove-vision-ai-v2, vela: {config: ../../vela.ini}}"),
    "config-absolute": _recipe(TARGET="{target: grove-vision-ai-v2, vela: {config: /vela.ini}}"),
    # names
    "as-report": _recipe(TARGET="{target: host, as: report}"),
    "as-device": _recipe(TARGET="{target: host, as: com1}"),
    "as-without-end": _recipe(TARGET=f"{{target: host, as: {'x' * 200}}}"),
}


def _with_links(workspace: Path) -> Path:
    """The sample workspace, with links out of it and a broken link."""
    outside = workspace.parent / "outside"
    outside.mkdir()
    (outside / "data.yaml").write_text("names: [tag]\n")
    (outside / "a.jpg").touch()
    (workspace / "linked").symlink_to(outside)
    (workspace / "linked.onnx").symlink_to(outside / "a.jpg")
    (workspace / "data" / "linked.yaml").symlink_to(outside / "data.yaml")
    (workspace / "loop").symlink_to(workspace / "loop")
    return workspace


@pytest.fixture
def place(workspace: Path) -> Path:
    """A workspace with links that a test may change."""
    return _with_links(workspace)


@pytest.fixture(scope="module")
def _lent_place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return _with_links(make_workspace(tmp_path_factory.mktemp("hostile") / "workspace"))


@pytest.fixture
def lent_place(_lent_place: Path) -> Iterator[Path]:
    """A shared workspace for tests that write one recipe, which is removed after each test."""
    before = sorted(os.listdir(_lent_place))
    yield _lent_place
    (_lent_place / "recipes" / "hostile.yaml").unlink()
    shutil.rmtree(_lent_place / ".buildsys", ignore_errors=True)
    assert sorted(os.listdir(_lent_place)) == before
    assert os.listdir(_lent_place / "recipes") == []


def _told(workspace: Path, capsys: pytest.CaptureFixture[str], name: str) -> None:
    """`check` prints the golden file's message, runs nothing and does not hang."""
    code = cli.main(["-C", str(workspace), "check"])
    printed = capsys.readouterr()
    assert (code, printed.err) == (2, "")
    assert printed.out.endswith("\n1 mistake\n")
    assert len(printed.out) < 1_500
    compare(printed.out, HERE / "hostile" / f"{name}.yaml", ())
    assert not Path("hacked").exists()


@pytest.mark.parametrize("name", expecting({name: name for name in _FILES}, {}))
def test_unintended_file(name: str, lent_place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Each file gives one short message: no traceback, no hang, no reading of /etc."""
    (lent_place / "recipes" / "hostile.yaml").write_bytes(_FILES[name])
    _told(lent_place, capsys, name)


def test_no_message_without_a_case() -> None:
    """Every golden file belongs to a case."""
    known = {*_FILES, *_THINGS, *_NAMES, *_DATASETS, *_TARGETS}
    assert {path.stem for path in (HERE / "hostile").glob("*.txt")} == known


def test_the_base_of_all_is_fine(lent_place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The base of the cases is correct, so that each case tests its own change."""
    (lent_place / "recipes" / "hostile.yaml").write_bytes(_recipe())
    assert cli.main(["-C", str(lent_place), "check"]) == 0
    assert capsys.readouterr().out == "2 builds, no mistake\n"


def _device(path: Path) -> None:
    path.symlink_to("/dev/zero")


def _socket(path: Path) -> None:
    here = Path.cwd()
    os.chdir(path.parent)  # the path of a socket is limited to 108 bytes
    try:
        with socket.socket(socket.AF_UNIX) as made:
            made.bind(path.name)
    finally:
        os.chdir(here)


_THINGS: dict[str, Callable[[Path], object]] = {
    "thing-folder": Path.mkdir,
    "thing-pipe": os.mkfifo,
    "thing-device": _device,
    "thing-socket": _socket,
    "thing-link-to-nothing": lambda path: path.symlink_to("nowhere"),
    "thing-link-to-itself": lambda path: path.symlink_to(path),
    "thing-empty": Path.touch,
}


@pytest.mark.parametrize("name", expecting({name: name for name in _THINGS}, {}))
def test_no_file_at_all(name: str, workspace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Pipes, devices and sockets instead of a recipe give one message."""
    _THINGS[name](workspace / "recipes" / "hostile.yaml")
    _told(workspace, capsys, name)


@pytest.mark.slow
def test_unreadable(workspace: Path) -> None:
    """An unreadable file of another user gives one message; the test drops root's right to read it."""
    path = write_recipe(workspace, "hostile", "")
    path.chmod(0)
    run = without_privileges(workspace, sys.executable, "-m", "buildsys", "check")
    assert run.returncode == 2
    assert "cannot be read: Permission denied" in run.stdout


_NAMES = {
    "name-report": "report",
    "name-check": "check",
    "name-device": "aux",
    "name-too-long": "x" * 120,
    "name-with-space": "two words",
    "name-with-equals": "a=b",
    "name-with-bracket": "a[b]",
    "name-with-line-break": "a\nb",
    "name-not-ascii": "äpfel",
    "name-not-utf-8": os.fsdecode(b"caf\xe9"),
    "name-as-option": "--help",
}


@pytest.mark.parametrize("name", expecting({name: name for name in _NAMES}, {}))
def test_name_of_a_file(name: str, workspace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """File names that no command could name, or that hide a command, give one message."""
    (workspace / "recipes" / f"{_NAMES[name]}.yaml").write_bytes(_recipe())
    _told(workspace, capsys, name)


_DATASETS: dict[str, bytes] = {
    "data-absolute": b"path: /data/tags\ntrain: photos/train\nval: photos/val\nnames: [tag]\n",
    "data-above": b"path: ../../..\nnames: [tag]\n",
    "data-split-absolute": b"train: /pictures\nnames: [tag]\n",
    "data-split-above": b"train: [images/train, ../../../pictures]\nnames: [tag]\n",
    "data-split-by-link": b"train: ../../linked\nnames: [tag]\n",
    "data-split-is-number": b"train: 7\nnames: [tag]\n",
    "data-split-is-block": b"train: {a: b}\nnames: [tag]\n",
    "data-split-is-empty": b"train: ''\nnames: [tag]\n",
    "data-garbage": bytes(range(128, 256)),
    "data-nul": b"names: [tag]\0\n",
    "data-bomb": b"names:\n" + _bomb().encode(),
    "data-tag": b"names: !!python/name:os.system [a]\n",
    "data-names-are-blocks": b"train: images/train\nnames: [{a: b}, c]\n",
    "data-names-are-nothing": b"train: images/train\nnames: [null, c]\n",
    "data-name-without-end": b"train: images/train\nnames: ["
    + b"x" * 500_000
    + b"]\nkpt_shape: 1\n",
    "data-shape-of-stars": b"names: [tag]\nkpt_shape: [999999999999, 3]\n",
    "data-sigma-none": b"names: [tag]\nkpt_shape: [1, 3]\nkpt_oks_sigmas: [.nan]\n",
    "data-empty": b"",
}


@pytest.mark.parametrize("name", expecting({name: name for name in _DATASETS}, {}))
def test_data_yaml(name: str, place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A data.yaml with hostile paths gives one message."""
    (place / "data" / "tags" / "data.yaml").write_bytes(_DATASETS[name])
    (place / "recipes" / "hostile.yaml").write_bytes(_recipe())
    _told(place, capsys, name)


_VELA = """\
label: mine
pipelines: {int8: [convert_tflite, compile_vela, package_files]}
vela: {version: "4.5", accelerator: ethos-u55-64, system_config: A, memory_mode: B, config: CONFIG}
"""
_TARGETS: dict[str, tuple[str, bytes]] = {
    "target-config-above": ("../../outside/a.jpg", b""),
    "target-config-by-link": ("../linked/a.jpg", b""),
    "target-config-garbage": ("v.ini", b"\xff\xfe\x00"),
    "target-config-no-ini": ("v.ini", b"hello\nworld\n"),
    "target-config-twice": ("v.ini", b"[System_Config.A]\na=1\na=2\n[Memory_Mode.B]\n"),
    "target-config-section-twice": ("v.ini", b"[Memory_Mode.B]\n[Memory_Mode.B]\n"),
    "target-config-broken-line": ("v.ini", b"[System_Config.A]\nhello\n[Memory_Mode.B]\n"),
    "target-config-folder": (".", b""),
}


@pytest.mark.parametrize("name", expecting({name: name for name in _TARGETS}, {}))
def test_vela_configuration(name: str, place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A wrong Vela configuration gives one message."""
    config, data = _TARGETS[name]
    write_target(place, "mine", _VELA.replace("CONFIG", config))
    (place / "targets" / "v.ini").write_bytes(data)
    (place / "recipes" / "hostile.yaml").write_bytes(_recipe(TARGET="mine"))
    _told(place, capsys, name)


def test_pinned_weights_may_be_a_link_that_leads_out(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Pinned weights may be a link to a file outside the workspace."""
    outside = place.parent / "outside" / "tags.pt"
    (place / "weights" / "tags.pt").rename(outside)
    (place / "weights" / "tags.pt").symlink_to(outside)
    (place / "recipes" / "hostile.yaml").write_bytes(_recipe())
    assert cli.main(["-C", str(place), "check"]) == 0
    assert capsys.readouterr().out == "2 builds, no mistake\n"
