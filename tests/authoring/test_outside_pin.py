"""`buildsys pin` in a workspace: changed files, output and exit codes."""

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from buildsys import cli
from buildsys.digest import digest_bytes, digest_file
from tests.authoring.sample_workspace import TAGS_SHA256, write_recipe

_RECIPE = """\
source:
  family: ultralytics
  task: pose
  weights: {path: weights/tags.pt}   # mine
input: {size: 192}
evaluate: none
targets: [checkpoint]
"""
_REMOTE = b"a network from far away" * 1000


def _pin(workspace: Path, *words: str) -> int:
    return cli.main(["-C", str(workspace), "pin", *words])


def _bytes(workspace: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (workspace / "recipes").iterdir()}


def test_missing_digest_is_written_and_checked(
    workspace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """`pin` writes the digest that `check` requires; a second run changes nothing."""
    recipe = write_recipe(workspace, "tags", _RECIPE)
    assert cli.main(["-C", str(workspace), "check"]) == 2
    capsys.readouterr()
    assert _pin(workspace) == 0
    assert (
        capsys.readouterr().out == f"pinned  recipes/tags.yaml:5  weights/tags.pt  {TAGS_SHA256}\n"
    )
    assert recipe.read_text() == "name: tags\n" + _RECIPE.replace(
        "tags.pt}", f"tags.pt, sha256: {TAGS_SHA256}}}"
    )
    assert cli.main(["-C", str(workspace), "check"]) == 0
    capsys.readouterr()
    before = recipe.stat().st_mtime_ns
    assert _pin(workspace) == 0
    assert capsys.readouterr().out == "nothing to pin\n"
    assert recipe.stat().st_mtime_ns == before


def test_differing_digest_is_reported_and_kept(
    workspace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A differing digest is reported and kept."""
    recipe = write_recipe(
        workspace, "tags", _RECIPE.replace("tags.pt}", f"tags.pt, sha256: '{'0' * 64}'}}")
    )
    before = recipe.read_bytes()
    assert _pin(workspace) == 1
    told = capsys.readouterr().err
    assert told.startswith(
        "recipes/tags.yaml:5:44: error: weights/tags.pt has a different sha256: "
    )
    assert "--update" in told
    assert recipe.read_bytes() == before
    assert _pin(workspace, "--update", "tags") == 0
    assert recipe.read_bytes() == before.replace(b"0" * 64, TAGS_SHA256.encode())


def test_only_what_is_asked_for(workspace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Only matching recipes are pinned; a name without a match is an error."""
    for name in ("tags", "tags-small", "other"):
        write_recipe(workspace, name, _RECIPE)
    before = _bytes(workspace)
    assert _pin(workspace, "tags*", "recipes/tags.yaml") == 0
    after = _bytes(workspace)
    assert {name for name in after if after[name] != before[name]} == {
        "tags.yaml",
        "tags-small.yaml",
    }
    capsys.readouterr()
    assert _pin(workspace, "othr") == 2
    assert "did you mean `other`?" in capsys.readouterr().err
    assert _bytes(workspace) == after


def test_one_bad_recipe_stops_no_other(workspace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A mistake in one recipe does not prevent pinning the others."""
    write_recipe(workspace, "a-tab", "source:\n\tweights: {}\n")
    write_recipe(workspace, "b-gone", _RECIPE.replace("tags.pt", "gone.pt"))
    good = write_recipe(workspace, "c-good", _RECIPE)
    assert _pin(workspace) == 2
    told = capsys.readouterr()
    assert "recipes/a-tab.yaml:3:1: error: not valid YAML" in told.err
    assert "recipes/b-gone.yaml:5:19: error: weights/gone.pt does not exist" in told.err
    assert TAGS_SHA256 in good.read_text()
    assert _pin(workspace, "b-gone") == 1


def test_the_file_that_names_the_weights_gets_the_digest(workspace: Path) -> None:
    """The digest is written into the file that names the weights, such as a base."""
    base = write_recipe(workspace, "_base", "source:\n  weights:\n    path: weights/tags.pt\n")
    child = write_recipe(workspace, "child", "extends: _base\ninput: {size: 96}\n")
    own = write_recipe(
        workspace, "own", "extends: _base\nsource: {weights: {path: weights/person.pt}}\n"
    )
    before = child.read_bytes()
    assert _pin(workspace, "child") == 0
    assert base.read_text().endswith(f"path: weights/tags.pt\n    sha256: {TAGS_SHA256}\n")
    assert child.read_bytes() == before
    assert _pin(workspace) == 0, "the base's digest is no digest of another file"
    assert digest_file(workspace / "weights" / "person.pt") in own.read_text()
    assert TAGS_SHA256 in base.read_text()
    claim = write_recipe(
        workspace, "claim", f"extends: _base\nsource: {{weights: {{sha256: {'0' * 64}}}}}\n"
    )
    assert _pin(workspace) == 1
    assert _pin(workspace, "--update") == 0
    assert TAGS_SHA256 in claim.read_text(), "what the recipe claims is mended where it claims it"
    assert _pin(workspace) == 0


def test_byte_order_mark_line_ends_and_rights_are_kept(workspace: Path) -> None:
    """Byte order mark, line ends, permissions and links are kept."""
    real = workspace / "elsewhere.yaml"
    text = "\ufeff" + ("name: tags\n" + _RECIPE).replace("\n", "\r\n")
    real.write_bytes(text.encode())
    real.chmod(0o640)
    link = workspace / "recipes" / "tags.yaml"
    link.symlink_to(real)
    assert _pin(workspace) == 0
    assert link.is_symlink()
    assert real.stat().st_mode & 0o777 == 0o640
    assert real.read_bytes().decode() == text.replace(
        "tags.pt}", f"tags.pt, sha256: {TAGS_SHA256}}}"
    )
    assert [path.name for path in workspace.glob("*.yaml*")] == ["elsewhere.yaml"]


class _Server(BaseHTTPRequestHandler):
    """Serves /whole.pt completely, /short.pt truncated, not /gone.pt; counts requests."""

    asked: list[str] = []

    def do_GET(self) -> None:
        _Server.asked.append(self.path)
        self.send_response(404 if "gone" in self.path else 200)
        self.send_header("Content-Length", str(len(_REMOTE)))
        self.end_headers()
        self.wfile.write(_REMOTE[:100] if "short" in self.path else _REMOTE)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Silent."""


@pytest.fixture
def server() -> Iterator[str]:
    """The address of a server on this machine."""
    _Server.asked.clear()
    with ThreadingHTTPServer(("127.0.0.1", 0), _Server) as running:
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{running.server_port}"
        running.shutdown()
        thread.join()


def test_remote_file_is_asked_for_once(
    workspace: Path, server: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """A remote file is downloaded once, and a truncated one is not pinned."""
    text = _RECIPE.replace("path: weights/tags.pt", f'url: "{server}/NAME.pt"')
    whole = write_recipe(workspace, "whole", text.replace("NAME", "whole"))
    assert _pin(workspace) == _pin(workspace) == 0
    assert digest_bytes(_REMOTE) in whole.read_text()
    assert _Server.asked == ["/whole.pt"]
    for name, words in (("short", "ended after 100 of 23000 bytes"), ("gone", "404")):
        capsys.readouterr()
        recipe = write_recipe(workspace, name, text.replace("NAME", name))
        before = recipe.read_bytes()
        assert _pin(workspace, name) == 1
        assert words in capsys.readouterr().err
        assert recipe.read_bytes() == before


def test_server_that_does_not_answer(workspace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A server that does not respond gives one message."""
    text = _RECIPE.replace("path: weights/tags.pt", 'url: "http://127.0.0.1:1/x.pt"')
    write_recipe(workspace, "far", text)
    assert _pin(workspace) == 1
    assert "could not be fetched" in capsys.readouterr().err


@pytest.mark.parametrize("name", ['"../x"', "x" * 300, "_gone", "7", "[a]"])
def test_odd_base_is_no_traceback(workspace: Path, name: str) -> None:
    """A wrong base gives no traceback, and the recipe's own weights are pinned."""
    recipe = write_recipe(workspace, "tags", f"extends: {name}\n{_RECIPE}")
    assert _pin(workspace) == 0
    assert TAGS_SHA256 in recipe.read_text()


def test_hidden_files_are_no_recipes_and_no_targets(
    workspace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Files such as `._net.yaml`, which macOS writes, are left out by every command."""
    (workspace / "targets").mkdir(exist_ok=True)
    for name in ("recipes/._net.yaml", "targets/._my.yaml"):
        (workspace / name).write_bytes(b"\0\5\26\7")
    (workspace / "recipes" / "late.yaml").write_text("extends: net\n")
    assert cli.main(["-C", str(workspace), "check"]) == 2
    assert "._" not in capsys.readouterr().out
    (workspace / "recipes" / "late.yaml").unlink()
    for command in (["pin"], ["pin", "*"], ["targets"], ["check"]):
        cli.main(["-C", str(workspace), *command])
        assert "U+0000" not in "".join(capsys.readouterr())


def test_no_recipe_at_all(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A folder without recipes is an error."""
    assert _pin(tmp_path) == 2
    assert "no recipe found" in capsys.readouterr().err
