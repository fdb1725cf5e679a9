"""A download ends complete or with one sentence; redirects to the local network are refused."""

import hashlib
import io
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from buildsys.steps import fetch_file
from buildsys.steps.lib.files.download import (
    Bounds,
    DownloadError,
    bounds_of,
    download,
    follow,
    is_public,
)
from buildsys.steps.lib.runtime.progress import StepError

BOUNDS = Bounds(most_bytes=100_000, stall_seconds=20, most_seconds=60)
IMPATIENT = Bounds(stall_seconds=0.1)
HURRIED = Bounds(most_seconds=0.1)
SENT_ON = b"HTTP/1.1 302 Found\r\nLocation: %s\r\nContent-Length: 0\r\n\r\n"
BOMB = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 4\r\n\r\n\x1f\x8b\x08\x00"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"

Answer = Callable[[socket.socket], None]


class Server:
    """A server on this machine that answers each path with given bytes."""

    def __init__(self) -> None:
        self.answers: dict[str, bytes | Answer] = {}
        self.requests: list[str] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self) -> None:
        while True:
            client, _ = self._listener.accept()
            with client:
                request = client.recv(65536).decode("latin-1")
                if not request:
                    return
                self.requests.append(request)
                answer = self.answers[request.split(" ")[1].removeprefix(self.url)]
                try:
                    client.sendall(answer) if isinstance(answer, bytes) else answer(client)
                except OSError:  # the client closed the connection
                    continue

    def close(self) -> None:
        """Stop the server with an empty request."""
        with socket.create_connection(("127.0.0.1", self.port)):
            pass
        self._thread.join()
        self._listener.close()


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """A server without a proxy."""
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    running = Server()
    yield running
    running.close()


def whole(body: bytes, head: bytes = b"HTTP/1.1 200 OK") -> bytes:
    """A response with its length."""
    return head + b"\r\nContent-Length: %d\r\n\r\n" % len(body) + body


def fetched(server: Server, path: str) -> bytes:
    """Download the body at a path."""
    body = io.BytesIO()
    assert download(server.url + path, body.write, bounds=BOUNDS) == len(body.getvalue())
    return body.getvalue()


def refused(server: Server, path: str, bounds: Bounds = BOUNDS) -> str:
    """The message about a refused download: one line without control characters."""
    with pytest.raises(DownloadError) as caught:
        download(server.url + path, lambda piece: None, bounds=bounds)
    words = str(caught.value)
    assert words.isprintable()
    return words


def test_a_body_comes_as_it_was_sent(server: Server) -> None:
    """A body is read with a length, in chunks or until the end, and is not decompressed."""
    server.answers |= {"/a?b=%20c": whole(b"x" * 70_000), "/packed": BOMB}
    server.answers |= {"/chunks": CHUNKED + b"3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"}
    server.answers |= {"/open": b"HTTP/1.0 200 OK\r\n\r\nuntil the end", "/none": whole(b"")}
    assert fetched(server, "/a?b=%20c") == b"x" * 70_000
    assert fetched(server, "/chunks") == b"abcde"
    assert fetched(server, "/open") == b"until the end"
    assert fetched(server, "/packed") == b"\x1f\x8b\x08\x00"
    assert fetched(server, "/none") == b""
    assert "accept-encoding: identity" in server.requests[0].lower()


def test_a_cut_body_is_a_cut_body(server: Server) -> None:
    """A truncated body is reported as truncated, not as another file."""
    server.answers |= {"/length": whole(b"x" * 100)[:-60], "/chunk": CHUNKED + b"8\r\nabc"}
    server.answers |= {
        "/between": CHUNKED + b"3\r\nabc\r\n",
        "/nothing": b"",
        "/head": b"HTTP/1.1 2",
    }
    assert refused(server, "/length") == "the server ended after 40 of 100 bytes; try again"
    assert refused(server, "/chunk") == "the server ended after 3 bytes; try again"
    assert refused(server, "/between") == "the server ended after 3 bytes; try again"
    assert refused(server, "/nothing") == "the server ended without an answer; try again"
    server.answers |= {"/headers": b"HTTP/1.1 200 OK\r\nContent-Le"}
    assert refused(server, "/head") == "the server does not answer in HTTP (HTTP/1.1 2)"
    assert refused(server, "/headers") == "the server ended after 0 bytes; try again"


def test_a_cut_body_reads_so_in_the_step(server: Server, tmp_path: Path) -> None:
    """The step reports a truncated body as such, not as a wrong digest."""
    server.answers |= {"/cut": whole(b"x" * 100)[:-60], "/other": whole(b"abc")}
    target = tmp_path / "checkpoint"
    for path, words in (
        ("/cut", "could not be fetched: the server ended after 40 of 100 bytes; try again"),
        ("/other", "write its digest into the recipe"),
    ):
        params = fetch_file.Params(url=server.url + path, sha256="0" * 64)
        with pytest.raises(StepError, match=words):
            fetch_file.run({}, {"checkpoint": target}, params)
    params = fetch_file.Params(url=server.url + "/other", sha256=hashlib.sha256(b"abc").hexdigest())
    fetch_file.run({}, {"checkpoint": target}, params)
    assert target.read_bytes() == b"abc"


def test_a_server_that_says_nothing_is_left(server: Server) -> None:
    """A silent server is given up before and during its response."""

    def silent(client: socket.socket) -> None:
        client.recv(1)  # until the client closes

    def stall(client: socket.socket) -> None:
        client.sendall(whole(b"x" * 100)[:-60])
        client.recv(1)

    server.answers |= {"/silent": silent, "/stall": stall}
    for path in ("/silent", "/stall"):
        words = refused(server, path, IMPATIENT)
        assert words.startswith("the server sent nothing for 0.1 s; try again")


def dripping(before: bytes) -> Answer:
    """A response of single bytes that never reaches a socket's timeout."""

    def drip(client: socket.socket) -> None:
        client.sendall(before)
        for _ in range(200):
            client.sendall(b"1")
            threading.Event().wait(0.01)

    return drip


def test_a_dripping_server_is_left_after_the_time_that_a_download_has(server: Server) -> None:
    """A very slow server is given up after the total time, in the header and in the body."""
    server.answers |= {"/body": dripping(b"HTTP/1.1 200 OK\r\n\r\n")}
    server.answers |= {"/head": dripping(b"HTTP/1.1 200 OK\r\nX-A: ")}
    assert "BUILDSYS_DOWNLOAD_HOURS" in refused(server, "/body", HURRIED)
    assert refused(server, "/head", IMPATIENT) == "the server sent nothing for 0.1 s; try again"


def test_a_file_that_is_too_large_ends_early(server: Server) -> None:
    """A file that is too large ends early, by its stated length or while reading."""

    def endless(client: socket.socket) -> None:
        client.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
        while True:
            client.sendall(b"x" * 50_000)

    server.answers |= {"/said": b"HTTP/1.1 200 OK\r\nContent-Length: 100001\r\n\r\n"}
    server.answers |= {"/endless": endless}
    server.answers |= {"/head": b"HTTP/1.1 200 OK\r\n" + b"X-A: b\r\n" * 9000 + b"\r\n"}
    server.answers |= {"/line": b"HTTP/1.1 200 OK\r\nX-A: " + b"b" * 90_000}
    for path in ("/said", "/endless"):
        assert "BUILDSYS_DOWNLOAD_GIB" in refused(server, path)
    assert "headers" in refused(server, "/head")
    assert "header line" in refused(server, "/line")


def test_the_servers_own_words_are_text(server: Server) -> None:
    """Texts from the server are escaped and shortened."""
    server.answers |= {"/reason": b"HTTP/1.1 404 \x1b[2J::error::no" + b"o" * 999 + b"\r\n\r\n"}
    server.answers |= {"/broken": b"\x1b[2J\x07 HTTP\r\n\r\n"}
    assert refused(server, "/reason").startswith("the server answers 404 \\x1b[2J::error::noo")
    for path in ("/reason", "/broken"):
        assert len(refused(server, path)) < 300


def test_a_server_may_send_on_within_itself(server: Server) -> None:
    """A redirect to the server itself is allowed, also in an intranet."""
    server.answers |= {"/a": SENT_ON % b"/b%20c?d", "/b%20c?d": SENT_ON % b"/caf\xe9"}
    server.answers |= {"/caf%E9": whole(b"there")}
    assert fetched(server, "/a") == b"there"


@pytest.mark.parametrize(
    "place",
    [
        *("127.0.0.1:PORT1", "127.0.0.2:PORT", "localhost:PORT", "[::1]:PORT", "0.0.0.0:PORT"),
        *("0x7f.1:PORT", "2130706433:PORT", "0177.0.0.1", "[::ffff:127.0.0.1]:PORT"),
        *("169.254.169.254", "10.0.0.1", "192.168.0.1", "[fe80::1]", "[64:ff9b::7f00:1]"),
    ],
)
def test_a_server_does_not_send_on_to_this_machine_or_its_network(
    server: Server, place: str
) -> None:
    """Redirects to this machine or its network are refused in any spelling, without a connection."""
    place = place.replace("PORT1", str(server.port ^ 1)).replace("PORT", str(server.port))
    server.answers |= {"/a": SENT_ON % f"http://{place}/b".encode(), "/b": whole(b"secret")}
    words = refused(server, "/a")
    assert "this machine or in its network" in words or "not known" in words or "address" in words
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    ("location", "words"),
    [
        (b"file:///etc/passwd", "only http and https"),
        (b"ftp://example.com/x", "only http and https"),
        (b"data:,x", "only http and https"),
        (b"http://user:secret@example.com/", "user name or password"),
        (b"http://[::1/", "malformed"),
        (b"http://a:99999/", "malformed"),
        (b"", "does not say where"),
        (b"/a", "more than 5 times"),
    ],
)
def test_a_server_does_not_send_on_to_what_is_no_server(
    server: Server, location: bytes, words: str
) -> None:
    """Redirects to files, data URLs, addresses with passwords, and loops are refused."""
    server.answers |= {"/a": SENT_ON % location}
    said = refused(server, "/a")
    assert words in said
    assert "secret" not in said
    assert len(server.requests) == (6 if location == b"/a" else 1)


def test_a_server_does_not_send_on_to_what_anybody_can_change() -> None:
    """Redirects from https to http are refused; the other way is allowed."""
    with pytest.raises(DownloadError, match="from https to http"):
        follow(urlsplit("https://models.example/a"), "http://models.example/a")
    assert follow(urlsplit("http://a.example/x/y"), "https://b.example/z").netloc == "b.example"
    assert follow(urlsplit("https://a.example/x/y"), "z").geturl() == "https://a.example/x/z"


@pytest.mark.parametrize("place", ["127.1", "0x7f.1", "2130706433", "localhost.", "[::1]", "10.1"])
def test_behind_a_proxy_the_spelling_is_what_can_be_checked(
    server: Server, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    """Behind a proxy only the spelling of an address is checked; the proxy's password is sent only
    to it.
    """
    monkeypatch.setenv("http_proxy", f"http://user:pass%20word@127.0.0.1:{server.port}")
    first = "http://models.example/a"
    server.answers |= {first: SENT_ON % f"http://{place}/b".encode()}
    with pytest.raises(DownloadError, match="this machine or in its network"):
        download(first, lambda piece: None, bounds=BOUNDS)
    server.answers |= {first: whole(b"through the proxy")}
    body = io.BytesIO()
    download(first, body.write, bounds=BOUNDS)
    assert body.getvalue() == b"through the proxy"
    assert all("Proxy-Authorization: Basic dXNlcjpwYXNzIHdvcmQ=" in r for r in server.requests)


@pytest.mark.parametrize(
    "url", ["file:///etc/passwd", "https://u:p@h/x", "http:///x", "x", "data:,x"]
)
def test_only_servers_are_asked(url: str) -> None:
    """Only http and https URLs without a password are accepted."""
    with pytest.raises(DownloadError) as caught:
        download(url, lambda piece: None)
    assert "u:p" not in str(caught.value)


@pytest.mark.parametrize(
    ("number", "public"),
    [
        *(("93.184.216.34", True), ("2606:4700::1", True), ("64:ff9b::5db8:d822", True)),
        *(("100.64.0.1", False), ("224.0.0.1", False), ("::ffff:10.0.0.1", False)),
        *(("2002:7f00:1::", False), ("64:ff9b::a00:1", False), ("::", False)),
        *(("fc00::1", False), ("fe80::1%1", False)),
    ],
)
def test_addresses_of_everybody(number: str, public: bool) -> None:
    """Whether an address is public, including IPv4 addresses embedded in IPv6."""
    assert is_public(number) is public


def test_the_bounds_can_be_raised() -> None:
    """Two variables change the limits; an invalid number is refused."""
    assert bounds_of({}) == Bounds()
    found = bounds_of({"BUILDSYS_DOWNLOAD_GIB": "64", "BUILDSYS_DOWNLOAD_HOURS": "0.5"})
    assert (found.most_bytes, found.most_seconds) == (64 << 30, 1800)
    for text in ("0", "-1", "many", "nan", "1e9"):
        with pytest.raises(DownloadError, match="BUILDSYS_DOWNLOAD_GIB"):
            bounds_of({"BUILDSYS_DOWNLOAD_GIB": text})
