"""Misbehaving servers and folders: every wait is limited, and a line states the reason."""

import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from buildsys.execution.store.action_entry import blob_name
from buildsys.execution.store.folder_objects import FolderObjects, is_leftover
from buildsys.execution.store.objects import Objects, Patience, explain_error
from buildsys.execution.store.remote import Progress, Remote
from buildsys.execution.store.remote_failure import Damaged, OddName, RemoteFailure
from buildsys.execution.store.shared_store import SharedStore
from buildsys.operations.sharing import check
from buildsys.remote_settings import RemoteSettings
from tests.object_servers import CREDENTIALS

DIGEST = "f5" + "0" * 62
BLOB = blob_name(DIGEST)
HASTY = Patience(answer=0.4, chunk=0.4, page=0.4, line=0.1)
Answer = Callable[[BaseHTTPRequestHandler], None]


@contextmanager
def server(answer: Answer) -> Iterator[str]:
    """A server that answers every request with `answer`; yields its address."""

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *args: object) -> None:
            """Nothing."""

        def do_GET(self) -> None:
            """Answer with the tested behaviour."""
            try:
                answer(self)
            except OSError:  # the client has disconnected
                self.close_connection = True

        do_HEAD = do_PUT = do_POST = do_GET  # noqa: N815 # names of http.server

    found = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    found.daemon_threads = True
    found.block_on_close = False
    thread = threading.Thread(target=found.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{found.server_address[1]}"
    finally:
        found.shutdown()
        found.server_close()
        thread.join()


@pytest.fixture
def credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    """Credentials for an S3 server."""
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)


def s3(endpoint: str) -> RemoteSettings:
    """Settings for a store on such a server."""
    return RemoteSettings(url="s3://results", endpoint=endpoint, mode="read-write")


def reply(
    request: BaseHTTPRequestHandler, body: bytes, size: int | None = None, **headers: str
) -> None:
    """Send an answer; `size`: the announced size."""
    request.send_response(200)
    for name, value in headers.items():
        if value:
            request.send_header(name, value)
    request.send_header("Content-Length", str(len(body) if size is None else size))
    request.end_headers()
    request.wfile.write(body)


def drip(request: BaseHTTPRequestHandler) -> None:
    """Send single bytes slowly."""
    reply(request, b"", 1 << 20)
    for _ in range(200):
        request.wfile.write(b".")
        time.sleep(0.05)


def silent(_: BaseHTTPRequestHandler) -> None:
    """Send nothing for a long time."""
    time.sleep(10)


def listing(*names: str, token: str = "", size: int = 1) -> bytes:
    """A page of an S3 listing; `token`: more pages follow."""
    more = f"<NextContinuationToken>{token}</NextContinuationToken>" if token else ""
    found = "".join(
        f"<Contents><Key>{name}</Key><Size>{size}</Size><ETag>e</ETag>"
        "<LastModified>2024-01-01T00:00:00.000Z</LastModified></Contents>"
        for name in names
    )
    is_cut = str(bool(token)).lower()
    text = f"<ListBucketResult><IsTruncated>{is_cut}</IsTruncated>{more}{found}</ListBucketResult>"
    return text.encode()


def test_bytes_that_come_one_by_one_are_a_failure() -> None:
    """Slow transfers fail: entries have a time limit, files a minimum rate; a line first states
    what is waited for.
    """
    lines: list[str] = []
    with server(drip) as url:
        objects = Objects(RemoteSettings(url=url), lines.append, HASTY)
        with pytest.raises(RemoteFailure, match=r"does not send actions/x within 0\.4 s"):
            objects.read("actions/x", 1000)
        with pytest.raises(RemoteFailure, match=r"less than 96\.0 KiB of a file came in 0\.4 s"):
            list(objects.stream(BLOB))
    assert lines[0].startswith("reading actions/x takes ")


WHOLE = bytes(range(250)) * 4


@pytest.mark.parametrize("tag", ["", '"a"'])
@pytest.mark.parametrize("cuts", [1, 2, 9])
def test_an_object_that_was_cut_off_is_requested_once_more(cuts: int, tag: str) -> None:
    """Otherwise its step would run again. With an ETag the library itself asks for the rest, which
    this server does not send.
    """
    asked: list[str] = []

    def cut(request: BaseHTTPRequestHandler) -> None:
        asked.append(request.headers.get("Range", "all"))
        is_cut = asked.count("all") <= cuts
        reply(request, WHOLE[: 100 * len(asked)] if is_cut else WHOLE, len(WHOLE), ETag=tag)

    for read in (lambda o: o.read("x", 10_000), lambda o: b"".join(o.stream("x"))):
        asked.clear()
        with server(cut) as url:
            objects = Objects(RemoteSettings(url=url), patience=HASTY)
            if cuts == 1:
                assert read(objects) == WHOLE
            else:
                with pytest.raises(RemoteFailure, match="the connection was cut"):
                    read(objects)
        assert asked.count("all") == 2


def test_a_server_that_falls_silent_is_not_waited_for(credentials: None) -> None:
    """A server that stops responding is not waited for, in reads and uploads."""
    with server(silent) as url:
        objects = Objects(s3(url), patience=HASTY)
        for ask in (
            lambda: objects.read("x", 1000),
            lambda: objects.size("x"),
            lambda: objects.write("x", b"1"),
            lambda: objects.delete(["x"]),
            lambda: list(objects.list("blobs")),
        ):
            with pytest.raises(RemoteFailure, match=r"does not answer within 0\.4 s"):
                ask()


def test_a_file_larger_than_its_size_is_not_read_to_its_end(tmp_path: Path) -> None:
    """A download is limited by the known or announced size, which itself is limited."""
    (tmp_path / "there" / "blobs" / "f5").mkdir(parents=True)
    (tmp_path / "there" / BLOB).write_bytes(bytes(5_000_000))
    remote = Remote(RemoteSettings(url=f"file://{tmp_path}/there"), lambda _: None)
    with pytest.raises(Damaged):
        remote.fetch(DIGEST, tmp_path / "here", size=1000)
    assert (tmp_path / "here").stat().st_size <= 1000
    with server(lambda request: reply(request, b"x", 1 << 60)) as url:
        objects = Objects(RemoteSettings(url=url), patience=HASTY)
        with pytest.raises(RemoteFailure, match="it announces "):
            list(objects.stream(BLOB))


@pytest.mark.parametrize(
    ("page", "why"),
    [
        (listing("blobs/a", "blobs/b", token="again"), "repeats itself endlessly"),
        (listing(token="again"), r"does not answer within 0\.4 s"),
    ],
)
def test_a_listing_without_an_end_is_left(page: bytes, why: str, credentials: None) -> None:
    """An endless listing is abandoned."""
    patience = Patience(page=5.0 if "repeats" in why else 0.4)
    with server(lambda request: reply(request, page)) as url:
        objects = Objects(s3(url), patience=patience)
        with pytest.raises(RemoteFailure, match=why):
            list(objects.list("blobs"))


def test_an_odd_name_hides_its_own_folder_alone(tmp_path: Path, credentials: None) -> None:
    """An invalid name or size only hides its own folder, and is counted."""
    good = blob_name("ab" + "1" * 62)

    def answer(request: BaseHTTPRequestHandler) -> None:
        names = ["blobs//x", "blobs/cd/../x", good]
        prefix = request.path.partition("prefix=")[2].partition("&")[0].replace("%2F", "/")
        size = (1 << 64) - 1 if "blobs" in prefix else 1
        reply(request, listing(*(n for n in names if n.startswith(prefix)), size=size))

    with server(answer) as url:
        with pytest.raises(OddName):
            list(Objects(s3(url)).list("blobs"))
        read_only = RemoteSettings(url="s3://results", endpoint=url)
        found = check(SharedStore(tmp_path / "store", read_only), every_byte=False)
    there = found.content
    assert there is not None
    assert (there.results, there.blobs, there.bytes, there.odd) == (0, 1, 0, 2)


@pytest.mark.parametrize(
    ("status", "why"),
    [
        (400, "the server answers with status 400 Bad Request"),
        (418, "the server answers with status 418 I'm a Teapot"),
        (302, "it redirects in a circle"),
    ],
)
def test_a_refusal_is_one_sentence(status: int, why: str) -> None:
    """A refusal is one sentence with the status, without a library's text."""

    def answer(request: BaseHTTPRequestHandler) -> None:
        request.send_response(status)
        request.send_header("Location", request.path)
        request.send_header("Content-Length", "0")
        request.end_headers()

    with server(answer) as url, pytest.raises(RemoteFailure) as raised:
        Objects(RemoteSettings(url=url)).read("x", 1000)
    assert str(raised.value).lower() == why.lower()


def test_only_regular_files_of_a_folder_are_objects(tmp_path: Path) -> None:
    """Only regular files are objects; pipes and links are not read, and can be replaced."""
    folder = tmp_path / "remote" / "blobs" / "f5"
    folder.mkdir(parents=True)
    objects = FolderObjects(RemoteSettings(url=f"file://{tmp_path}/remote", mode="read-write"))
    (tmp_path / "secret").write_text("secret")
    for make in (os.mkfifo, lambda path: os.symlink(tmp_path / "secret", path)):
        make(folder / DIGEST)
        assert (objects.size(BLOB), objects.read(BLOB, 1000)) == (None, None)
        assert list(objects.list("blobs")) == []
        objects.write(BLOB, b"whole")
        assert [each.name for each in objects.list("blobs")] == [BLOB]
        assert objects.read(BLOB, 1000) == b"whole"
        objects.delete([BLOB, BLOB])
    assert (tmp_path / "secret").read_text() == "secret"
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize("link", ["blobs", "blobs/f5"])
def test_a_folder_that_is_a_link_is_not_written_through(tmp_path: Path, link: str) -> None:
    """A folder that is a link is not used for writing, reading or removing."""
    root, outside = tmp_path / "remote", tmp_path / "outside"
    (outside / "f5").mkdir(parents=True)
    (outside / DIGEST).write_text("theirs")
    (outside / "f5" / DIGEST).write_text("theirs")
    (root / link).parent.mkdir(parents=True)
    (root / link).symlink_to(outside)
    objects = FolderObjects(RemoteSettings(url=f"file://{root}", mode="read-write"))
    with pytest.raises(RemoteFailure, match=f"^its folder {link} is a link or not a folder"):
        objects.write(BLOB, b"ours")
    objects.delete([BLOB])
    assert objects.read(BLOB, 1000) is None
    with pytest.raises(RemoteFailure, match=f"^its folder {link} is a symbolic link"):
        list(objects.list(link))
    assert {path.read_text() for path in outside.rglob(DIGEST)} == {"theirs"}


@pytest.mark.parametrize(
    ("name", "is_one"),
    [
        (f"{BLOB}#1", True),
        ("blobs/f5/.tmp-0123456789abcdef", True),
        ("actions/ab/x.json#12", True),
        (BLOB, False),
        ("notes/.tmp-0123456789abcdef", False),
        ("blobs/f5/notes.txt", False),
    ],
)
def test_what_a_transfer_has_left_is_known_by_its_name(name: str, is_one: bool) -> None:
    """Remains of transfers are recognized by name, including those of earlier releases."""
    assert is_leftover(name) == is_one


def test_an_unknown_host_is_named_without_credentials() -> None:
    """An unknown host is named without credentials."""
    text = 'GET https://me:secret@s3.example.com:9000/results in 2 ms ... "dns error"'
    assert explain_error(ValueError(text)) == "the host name s3.example.com is unknown"


@pytest.mark.parametrize("missing", ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"])
def test_half_of_the_credentials_names_the_other_half(
    missing: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Credentials of S3 with one of the two variables are named as missing, with the other."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "x")
    monkeypatch.delenv(missing)
    with pytest.raises(RemoteFailure, match=f"^no credentials: {missing} is not set$"):
        Objects(RemoteSettings(url="s3://team", endpoint="http://127.0.0.1:9")).probe()


def test_lines_on_transfers_say_which_way_and_count_the_time_of_transfers_alone() -> None:
    """Transfer lines state the direction, and rates count only the time of transfers."""
    lines: list[str] = []
    fetching = Progress("s3://team", "fetched", lines.append)
    fetching.begin(0)
    fetching.begin(1)
    fetching.end(2)
    fetching.show(1, 2048, now=2)
    fetching.end(4)
    fetching.begin(3600)
    fetching.show(2, 8 << 10, now=3604)
    assert lines == []
    fetching.show(20, 20 << 10, now=3606)
    fetching.show(21, 21 << 10, now=3607)
    fetching.end(3612)
    assert lines == ["s3://team: 20 files fetched, 20.0 KiB (2.0 KiB/s)"]
    whole = fetching.describe(1, 40, 32 << 10, now=9999)
    assert whole == "s3://team: 1 result and 40 files fetched, 32.0 KiB (2.0 KiB/s)"
    assert fetching.describe(0, 0, 0, now=9999) == ""
