"""A stand-in for the interpreter of a tool environment that runs real processes.

Called like the interpreter, `python -s LAUNCHER MODULE request.json`, it derives outputs from a
digest of parameters and inputs, and writes them slowly and in pieces while its own child runs for a
minute. It does not watch its parent. `tool.json` beside it sets its duration, {"seconds": 0.05},
and faults: {"fill": MODULE} writes until the disk is full, {"leave": MODULE} leaves a process
running, {"fail": MODULE} exits with 1, {"hold": MODULE} waits until a file `go` is beside
tool.json, {"red": MODULE} gives a red verdict, {"cpu": NAME} gives other training results per name.

The tests start it thousands of times. It imports neither json nor hashlib nor signal, which would
take more than half of its CPU time.
"""

import io
import os
import sys
import time
from binascii import crc32

PIECES = 5
SIGKILL = 9
GREEN = '"passed": true, "failures": []'
RED = '"passed": false, "failures": ["the stand-in gives a red verdict"]'


WORDS = {"true": True, "false": False, "null": None}
"""With these names, JSON is valid Python."""


def main() -> None:
    module, request_path = sys.argv[-2:]
    request: dict[str, dict[str, str]] = eval(read(request_path), WORDS)
    home = os.path.dirname(sys.argv[0])
    settings: dict[str, str] = eval(read(os.path.join(home, "tool.json")), WORDS)
    print(f"{module} runs", flush=True)
    reports = (os.POSIX_SPAWN_CLOSE, int(os.environ["BUILDSYS_PROGRESS_FD"]))
    child = os.posix_spawnp("sleep", ["sleep", "60"], os.environ, file_actions=[reports])
    if settings.get("fill") == module:
        fill(next(iter(request["outputs"].values())))
    while settings.get("hold") == module and not os.path.exists(os.path.join(home, "go")):
        time.sleep(0.01)
    text = digest(module, request)
    if module.startswith("train_"):
        text += settings.get("cpu", "")
    for name, path in request["outputs"].items():
        content = f'{{"of": "{text * 50}"}}' if path.endswith(".json") else text * 50
        if name == "metrics":
            content = f'{{"metrics": {{"box.mAP50-95": 0.5}}, "of": "{text}"}}'
        if name == "arena":
            content = f'{{"arena_bytes": 1024, "of": "{text}"}}'
        if name in ("verdict", "evidence", "latency"):
            verdict = RED if settings.get("red") == module else GREEN
            content = f'{{{verdict}, "of": "{text}"}}'
        if name == "summary":
            content = f'{{"sram_bytes": 1024, "of": "{text}"}}'
        folder = not os.path.splitext(path)[1]
        if folder:
            os.makedirs(path)
        file = os.path.join(path, "file") if folder else path
        data = checkpoint_of(content) if file.endswith(".pt") else content.encode()
        write_slowly(file, data, float(settings["seconds"]) / len(request["outputs"]))
    if settings.get("fail") == module:
        sys.exit(f"{module} fails on request")
    if settings.get("leave") == module:
        if not os.fork():  # with every pipe that we have
            time.sleep(60)
        return
    os.kill(child, SIGKILL)
    os.waitpid(child, 0)


def read(path: str) -> str:
    """The text of a file."""
    with open(path, encoding="utf-8") as stream:
        return stream.read()


def checkpoint_of(text: str) -> bytes:
    """A checkpoint as in `tests.checkpoints`, which cannot be imported here."""
    import zipfile  # its imports take a third of this program's time

    length = len(text.encode()).to_bytes(4, "little")
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        member = zipfile.ZipInfo("archive/data.pkl", date_time=(2020, 1, 1, 0, 0, 0))
        archive.writestr(member, b"\x80\x02X" + length + text.encode() + b".")
    return stream.getvalue()


def write_slowly(path: str, content: bytes, seconds: float) -> None:
    """Write in pieces, so that a kill in between leaves a partial file."""
    step = len(content) // PIECES + 1
    with open(path, "wb") as stream:
        for start in range(0, len(content), step):
            stream.write(content[start : start + step])
            stream.flush()
            time.sleep(seconds / PIECES)


def fill(path: str) -> None:
    """Write until the disk is full."""
    with open(path, "wb") as stream:
        while True:
            stream.write(b"x" * 65536)


def digest(module: str, request: dict[str, dict[str, str]]) -> str:
    """A text that depends on the parameters and all input bytes."""
    state = crc32(f"{module} {request['params']!r}".encode())
    for name, path in sorted(request["inputs"].items()):
        for file in sorted(files_of(path)):
            state = crc32(f"{name} {os.path.basename(file)}".encode(), state)
            with open(file, "rb") as stream:
                state = crc32(stream.read(), state)
    return f"{state:08x}" * 8


def files_of(path: str) -> list[str]:
    """The file itself, or every file below."""
    if not os.path.isdir(path):
        return [path]
    return [os.path.join(base, name) for base, _, names in os.walk(path) for name in names]


if __name__ == "__main__":
    main()
