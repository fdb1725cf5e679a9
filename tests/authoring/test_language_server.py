"""A real language server uses our schemas for hover, completion and checks of recipes."""

import json
import shutil
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from buildsys.authoring import schema

pytestmark = pytest.mark.slow

_REPOSITORY = Path(__file__).resolve().parent.parent.parent
_RECIPE = """\
# yaml-language-server: $schema=../.buildsys/recipe.schema.json
name: camera
source: {family: ultralytics, task: detect, architecture: yolov8n, weights: random}
train:
  epochs: 3
  epoch: 4
quantization:
  scheme: int8
@@
targets: [host]
""".replace("@@", "  ")

Message = dict[str, Any]


def _server() -> str:
    """The path of the server, which `.ci/run` installs with npm."""
    own = _REPOSITORY / ".venv-npm" / "node_modules" / ".bin" / "yaml-language-server"
    found = str(own) if own.exists() else shutil.which("yaml-language-server")
    if found is None:
        pytest.skip("yaml-language-server is not installed: npm install yaml-language-server")
    return found


class _Client:
    """A language server with one open file, over its standard input and output."""

    def __init__(self, command: list[str], file: Path, text: str) -> None:
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.notes: list[Message] = []
        self.document = {"textDocument": {"uri": file.as_uri()}}
        self.asked = 0
        formats = {"hover": {"contentFormat": ["markdown"]}, "publishDiagnostics": {}}
        capabilities = {"textDocument": formats}
        self.ask("initialize", {"processId": None, "rootUri": None, "capabilities": capabilities})
        opened = {"uri": file.as_uri(), "languageId": "yaml", "version": 1, "text": text}
        self.send({"method": "initialized", "params": {}})
        self.send({"method": "textDocument/didOpen", "params": {"textDocument": opened}})

    def send(self, message: Message) -> None:
        body = json.dumps({"jsonrpc": "2.0", **message}).encode()
        assert self.process.stdin is not None
        self.process.stdin.write(b"Content-Length: %d\r\n\r\n" % len(body) + body)
        self.process.stdin.flush()

    def receive(self) -> Message:
        assert self.process.stdout is not None
        length = 0
        while line := self.process.stdout.readline().strip():
            if line.lower().startswith(b"content-length:"):
                length = int(line.split(b":")[1])
        assert length, "the language server ended"
        message: Message = json.loads(self.process.stdout.read(length))
        return message

    def ask(self, method: str, params: Message) -> Any:
        """The result of a request; requests of the server get empty answers."""
        self.asked += 1
        self.send({"id": self.asked, "method": method, "params": params})
        while True:
            message = self.receive()
            if message.get("id") == self.asked and "method" not in message:
                return message["result"]
            if "method" in message and "id" in message:
                items = (message.get("params") or {}).get("items")
                self.send({"id": message["id"], "result": [{} for _ in items] if items else None})
            self.notes.append(message)

    def at(self, method: str, line: int, character: int) -> Any:
        place = {"position": {"line": line, "character": character}}
        return self.ask(f"textDocument/{method}", self.document | place)

    def diagnostics(self) -> list[Message]:
        while True:
            for note in self.notes:
                if note.get("method") == "textDocument/publishDiagnostics":
                    found: list[Message] = note["params"]["diagnostics"]
                    return found
            self.notes.append(self.receive())


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[_Client]:
    command = [_server(), "--stdio"]
    root = tmp_path_factory.mktemp("edited")
    schema.write_schemas(root / ".buildsys")
    (root / "recipes").mkdir()
    file = root / "recipes" / "camera.yaml"
    file.write_text(_RECIPE)
    opened = _Client(command, file, _RECIPE)
    silent = threading.Timer(180, opened.process.kill)  # otherwise a read could block forever
    silent.start()
    yield opened
    silent.cancel()
    opened.process.kill()
    opened.process.communicate()


def test_hover_shows_meaning_and_example(client: _Client) -> None:
    """Hover works for a key of a step's settings, and for one with a list of words."""
    epochs = client.at("hover", line=4, character=4)["contents"]["value"]
    assert "Passes over the train split." in epochs
    assert "```yaml\n100\n```" in epochs
    scheme = client.at("hover", line=7, character=4)["contents"]["value"]
    assert "Number format of weights and activations." in scheme
    assert "`dynamic-range`" in scheme


def test_completion_offers_the_keys_that_are_left(client: _Client) -> None:
    """In `quantization`, the remaining keys are offered with their meanings."""
    found = client.at("completion", line=8, character=2)
    items = found["items"] if isinstance(found, dict) else found
    offered = {item["label"]: item.get("documentation") for item in items}
    assert set(offered) == {"calibration", "granularity", "io", "unquantized"}
    assert offered["calibration"] == "Images that determine the value ranges of int8 and int16x8."


def test_a_wrong_key_is_marked(client: _Client) -> None:
    """Only the wrong key is marked."""
    (wrong,) = client.diagnostics()
    assert wrong["message"] == "Property epoch is not allowed."
    assert wrong["range"]["start"] == {"line": 5, "character": 2}
