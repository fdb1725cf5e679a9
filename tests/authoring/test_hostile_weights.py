"""Checkpoints with code, decompression bombs and other files are reported before anything is
loaded.

`UPDATE_GOLDEN=1 pytest tests/authoring/test_hostile_weights.py` rewrites the messages.
"""

import hashlib
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from buildsys import cli
from tests.authoring.golden import HERE, compare
from tests.authoring.sample_workspace import (
    TAGS_SHA256,
    Head,
    expecting,
    plan_good,
    write_checkpoint,
    write_recipe,
)
from tests.checkpoints import archive_of, checkpoint_of

_RECIPE = """\
source: {family: FAMILY, task: pose, weights: {path: weights/evil.pt, sha256: SHA}}
input: {size: 192}
evaluate: none
targets: [host]
"""


def _attack(victim: Path) -> bytes:
    """A pickle that deletes a file while it is loaded, followed by a pose network of one class."""
    name = str(victim).encode()
    attack = b"cos\nremove\nX" + len(name).to_bytes(4, "little") + name + b"\x85R0"
    return b"\x80\x02" + attack + b"cultralytics.nn.modules.head\nPose\n."


_OWN_CLASS = b"\x80\x02cmynets\nNote\n)\x81cultralytics.nn.modules.head\nPose\n."
"""An object of an unknown class, followed by a pose network of one class."""


def _archive(path: Path, content: bytes, name: str = "archive/data.pkl") -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(name, content)


def _bomb(path: Path) -> None:
    """Write 20 KB whose pickle unpacks to 20 MB of opcodes."""
    _archive(path, b"\x80\x02" + b"N0" * 10_000_000 + b"N.")


def _cut(path: Path) -> None:
    write_checkpoint(path, Head(kind="Pose", classes=("tag",), keypoints=4))
    path.write_bytes(path.read_bytes()[:-30])


def _pinned(workspace: Path, family: str = "ultralytics") -> None:
    digest = hashlib.sha256((workspace / "weights" / "evil.pt").read_bytes()).hexdigest()
    write_recipe(workspace, "evil", _RECIPE.replace("SHA", digest).replace("FAMILY", family))


@pytest.mark.parametrize("command", ["check", "plan"])
@pytest.mark.parametrize("form", ["archive", "before torch 1.6"])
def test_code_in_a_pickle_never_runs(
    workspace: Path, command: str, form: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """No command executes code in a pickle, whether the file is pinned or trusted."""
    victim, path = workspace / "victim", workspace / "weights" / "evil.pt"
    victim.touch()
    if form == "archive":
        _archive(path, _attack(victim))
    else:
        path.write_bytes(pickle.dumps(0x1950A86A20F9469CFC6C, 2) + _attack(victim))
    _pinned(workspace)
    assert cli.main(["-C", str(workspace), command]) != 0
    text = (workspace / "recipes" / "evil.yaml").read_text()
    (workspace / "recipes" / "evil.yaml").write_text(text.replace("task:", "trust: code, task:"))
    assert cli.main(["-C", str(workspace), command]) == 0
    text = _RECIPE.replace(", sha256: SHA", "").replace("FAMILY", "ultralytics")
    write_recipe(workspace, "evil", text)
    assert cli.main(["-C", str(workspace), "check"]) == 2
    assert "needs a `sha256`: loading a checkpoint runs code" in capsys.readouterr().out
    assert victim.exists()


def test_new_and_pin_list_the_code_too(workspace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`new` writes no recipe for it; `pin` names the file, and that `check` will reject it."""
    _archive(workspace / "weights" / "evil.pt", _attack(workspace / "victim"))
    listed = "weights/evil.pt runs code when it is loaded, beyond what checkpoints hold: os.remove"
    command = ["-C", str(workspace), "new", "evil", "--from", "weights/evil.pt"]
    assert cli.main(command) == 2
    assert listed.replace("evil.pt ", "evil.pt: error: ") in capsys.readouterr().err
    assert not (workspace / "recipes" / "evil.yaml").exists()
    text = _RECIPE.replace(", sha256: SHA", "").replace("FAMILY", "ultralytics")
    write_recipe(workspace, "evil", text)
    assert cli.main(["-C", str(workspace), "pin", "evil"]) == 0
    assert f"recipes/evil.yaml:2:59: warning: {listed}" in capsys.readouterr().err


def test_no_trust_helps_where_a_module_is_missing(
    workspace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """For a trusted file with a missing module, `check`, `pin` and `new` report it and what to do."""
    _archive(workspace / "weights" / "evil.pt", _OWN_CLASS)
    text = _RECIPE.replace(", sha256: SHA", "").replace("FAMILY", "ultralytics, trust: code")
    write_recipe(workspace, "evil", text)
    missing = "uses names of modules that the tool environment does not have: mynets.Note\n"
    cure = "not even with `trust: code`: save the weights without these"
    new = ("new", "other", "--from", "weights/evil.pt", "--trust", "code")
    for command, code in ((("pin", "evil"), 0), (("check",), 2), (new, 2)):
        assert cli.main(["-C", str(workspace), *command]) == code
        said = capsys.readouterr()
        assert missing in said.out + said.err
        assert cure in said.out + said.err


def test_new_writes_the_trust_that_a_file_needs(
    workspace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """`new` writes `trust: code` as its message suggests; `pin` accepts it; a file without code
    gets none.
    """
    _archive(workspace / "weights" / "evil.pt", _attack(workspace / "victim"))
    write_checkpoint(
        workspace / "weights" / "good.pt", Head(kind="Pose", classes=("tag",), keypoints=4)
    )
    for name in ("evil", "good"):
        command = ["new", name, "--from", f"weights/{name}.pt", "--trust", "code"]
        assert cli.main(["-C", str(workspace), *command]) == 0
    evil, good = ((workspace / "recipes" / f"{name}.yaml").read_text() for name in ("evil", "good"))
    assert "\n  trust: code " in evil
    assert "trust" not in good
    assert "weights/good.pt runs no code" in capsys.readouterr().out
    digest = hashlib.sha256((workspace / "weights" / "evil.pt").read_bytes()).hexdigest()
    path = workspace / "recipes" / "evil.yaml"
    path.write_text(evil.replace(f", sha256: {digest}", ""))
    assert cli.main(["-C", str(workspace), "pin", "evil"]) == 0
    said = capsys.readouterr()
    assert digest in said.out
    assert not said.err


def test_where_no_code_is_ever_run_no_command_advises_to_trust_it(
    workspace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """For a family of tensors only, `check` reports that `trust: code` has no effect, and no
    command suggests it.
    """
    _archive(workspace / "weights" / "evil.pt", _attack(workspace / "victim"))
    text = _RECIPE.replace(", sha256: SHA", "").replace("FAMILY", "yolox").replace("pose", "detect")
    write_recipe(workspace, "evil", text)
    advice = "a checkpoint of this family holds tensors alone: save the network's state_dict()"
    assert cli.main(["-C", str(workspace), "pin", "evil"]) == 0
    pinned = capsys.readouterr().err
    assert "os.remove, ultralytics.nn.modules.head.Pose" in pinned
    assert advice in pinned
    assert cli.main(["-C", str(workspace), "check"]) == 2
    checked = capsys.readouterr().out
    assert advice in checked
    assert "trust" not in pinned + checked


@pytest.mark.parametrize("name", ["weights/evil.bin", "weights/evil", "weights/evil.onnx"])
def test_another_name_does_not_get_past_the_digest(
    workspace: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """A checkpoint with another file ending also needs a digest."""
    _archive(workspace / name, b"\x80\x02N.")
    text = _RECIPE.replace("weights/evil.pt, sha256: SHA", name).replace("FAMILY", "ultralytics")
    write_recipe(workspace, "evil", text)
    assert cli.main(["-C", str(workspace), "check"]) == 2
    assert "needs a `sha256`: loading a checkpoint runs code" in capsys.readouterr().out


def _words(*lines: str) -> bytes:
    """Pickle operations that push texts."""
    return b"".join(b"X" + len(line).to_bytes(4, "little") + line.encode() for line in lines)


def _named(path: Path, name: str) -> None:
    write_checkpoint(path, Head(kind="Pose", classes=("tag", name), keypoints=4))


_FILES: dict[str, Callable[[Path], object]] = {
    "weights-run-code": lambda path: _archive(path, _attack(path / "victim")),
    "weights-call-a-class": lambda path: _archive(
        path,
        b"\x80\x02cultralytics.nn.tasks\nPoseModel\n}" + _words("activation", "x") + b"s\x85R.",
    ),
    "weights-of-an-own-class": lambda path: _archive(path, _OWN_CLASS),
    "weights-before-torch-1.6": lambda path: path.write_bytes(
        pickle.dumps(0x1950A86A20F9469CFC6C, 2) + b"\x80\x02N."
    ),
    "weights-of-torchscript": lambda path: path.write_bytes(
        archive_of(b"\x80\x02N.", ("archive/constants.pkl", b"\x80\x02N."))
    ),
    "weights-two-pickles": lambda path: path.write_bytes(
        archive_of(b"\x80\x02N.", ("archive/DATA.pkl", b"\x80\x02N."))
    ),
    "weights-behind-another-file": lambda path: path.write_bytes(b"PK-" + checkpoint_of("x")),
    "weights-pickle-without-end": lambda path: _archive(path, b"\x80\x02" + b"N0" * 600_000),
    "weights-name-of-two-lines": lambda path: _named(path, "cat\ndog"),
    "weights-name-too-long": lambda path: _named(path, "x" * 300),
    "weights-many-keypoints": lambda path: write_checkpoint(
        path, Head(kind="Pose", classes=("tag",), keypoints=70_000)
    ),
    "weights-empty": Path.touch,
    "weights-bomb": _bomb,
    "weights-cut-off": _cut,
    "weights-a-page": lambda path: path.write_text("<!DOCTYPE html><title>404</title>"),
    "weights-pointer": lambda path: path.write_text("version https://git-lfs.github.com/spec/v1\n"),
    "weights-a-pickle": lambda path: path.write_bytes(pickle.dumps({"a": 1})),
    "weights-archive-of-it": lambda path: _archive(path, b"PK", "best.pt"),
}


@pytest.mark.parametrize("name", expecting({name: name for name in _FILES}, {}))
def test_file_that_is_no_checkpoint(
    workspace: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """A file that is not a checkpoint is reported by `check`, before any step."""
    _FILES[name](workspace / "weights" / "evil.pt")
    _pinned(workspace)
    assert cli.main(["-C", str(workspace), "check"]) == 2
    printed = capsys.readouterr().out
    assert printed.endswith("\n1 mistake\n")
    digest = hashlib.sha256((workspace / "weights" / "evil.pt").read_bytes()).hexdigest()
    compare(printed.replace(digest, TAGS_SHA256), HERE / "hostile_weights" / f"{name}.yaml", ())


def test_no_message_without_a_case() -> None:
    """Every golden file belongs to a case."""
    assert {path.stem for path in (HERE / "hostile_weights").glob("*.txt")} == _FILES.keys()


def test_largest_checkpoints_are_read(workspace: Path) -> None:
    """The largest real checkpoints are accepted."""
    head = Head(kind="Pose", classes=tuple(f"class number {n}" for n in range(20_000)), keypoints=4)
    write_checkpoint(workspace / "weights" / "evil.pt", head)
    _pinned(workspace)
    assert list(plan_good(workspace)) == ["evil@host"]
