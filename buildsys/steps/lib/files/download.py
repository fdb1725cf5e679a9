"""Download a file completely or not at all, with limits on size and time, from a given address.

The first address comes from the recipe and may be in an intranet. A redirect comes from the server:
only http and https are followed, never from https to http, and never to this machine or its
network. The resolved IP address is checked, not the host name. With a proxy, the proxy resolves
names, so that only literal IP addresses can be checked.
"""

import contextlib
import http.client
import ipaddress
import os
import re
import socket
import ssl
import threading
import time
from base64 import b64encode
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from urllib.parse import SplitResult, quote, unquote, urljoin, urlsplit
from urllib.request import getproxies, proxy_bypass

from buildsys.escaping import one_line

SIZE_VARIABLE = "BUILDSYS_DOWNLOAD_GIB"
TIME_VARIABLE = "BUILDSYS_DOWNLOAD_HOURS"
_GIB, _HOUR = 1 << 30, 3600.0
_MOST_REDIRECTS = 5
_REDIRECTS = (301, 302, 303, 307, 308)
_CHUNK = 1 << 18
_LONGEST_WORDS = 200
_PORTS = {"http": 80, "https": 443}
_KEPT = "%/:=&?~#+!$,;'@()*[]"
_NAT64 = ipaddress.ip_network("64:ff9b::/96")
_THIS_MACHINE = re.compile(r"(.*\.)?localhost(\.localdomain)?\.?|ip6-localhost", re.IGNORECASE)
_CREDENTIALS = "a user name or password in an address would stand in recipes and logs: leave it out"

OnProgress = Callable[[int, int], None]
"""Called with (bytes so far, total bytes; 0 if the server does not state it)."""


class DownloadError(Exception):
    """Why a download failed, in one line without a full stop; it never contains a complete address."""


@dataclass(frozen=True, kw_only=True)
class Bounds:
    """Limits: total bytes, seconds without a byte, total seconds."""

    most_bytes: int = 32 * _GIB
    stall_seconds: float = 60.0
    most_seconds: float = 12 * _HOUR


def bounds_of(environment: Mapping[str, str]) -> Bounds:
    """Return the default limits, or those in the environment variables. Raises DownloadError."""
    usual = Bounds()
    size = _number(environment, SIZE_VARIABLE, usual.most_bytes / _GIB)
    hours = _number(environment, TIME_VARIABLE, usual.most_seconds / _HOUR)
    return Bounds(most_bytes=int(size * _GIB), most_seconds=hours * _HOUR)


def _number(environment: Mapping[str, str], name: str, usual: float) -> float:
    text = environment.get(name, "")
    if not text:
        return usual
    if not re.fullmatch(r"\d{1,6}(\.\d{1,3})?", text) or not float(text):
        raise DownloadError(f"{name} is {one_line(text)!r}: a number above 0 stands there")
    return float(text)


Place = tuple[str, int, str]
"""(host, port, address)."""


def download(
    url: str,
    write: Callable[[bytes], object],
    on_progress: OnProgress = lambda done, total: None,
    bounds: Bounds | None = None,
) -> int:
    """Pass the body of `url` to `write` in pieces; returns its size in bytes. Raises DownloadError."""
    limits = bounds or bounds_of(os.environ)
    ends = time.monotonic() + limits.most_seconds
    parts, named = _split(url, "the address"), set[Place]()
    for hop in range(_MOST_REDIRECTS + 1):
        with contextlib.closing(_connect(parts, limits, named, redirected=hop > 0)) as connection:
            answer, end = _ask(connection, parts, limits)
            with contextlib.closing(answer):
                if answer.status == http.client.OK:
                    return _read(answer, end, limits, ends, write, on_progress)
        if answer.status not in _REDIRECTS:
            reason = one_line(answer.reason)[:_LONGEST_WORDS]
            raise DownloadError(f"the server answers {answer.status} {reason}".rstrip())
        parts = follow(parts, answer.headers.get("Location"))
    raise DownloadError(f"the server sends on more than {_MOST_REDIRECTS} times")


def _split(url: str, what: str) -> SplitResult:
    """Return scheme, host and port of an address. Raises DownloadError, whose message does not
    contain the address.
    """
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError as error:
        raise DownloadError(f"{what} is malformed") from error
    if parts.scheme not in _PORTS or not host:
        scheme = one_line(parts.scheme)[:20]
        raise DownloadError(f"{what} is of the kind `{scheme}:`; only http and https are fetched")
    if "@" in parts.netloc:
        raise DownloadError(f"{what}: {_CREDENTIALS}")
    return parts


def follow(parts: SplitResult, location: str | None) -> SplitResult:
    """Return the address of a redirect. Raises DownloadError."""
    if not location:
        raise DownloadError("the server sends on, and does not say where")
    raw = location.encode("latin-1", "replace")  # http.client decodes headers this way
    try:
        url = urljoin(parts.geturl(), quote(raw, safe=_KEPT))
    except ValueError as error:
        raise DownloadError("the address that the server sends on to is malformed") from error
    target = _split(url, "the address that the server sends on to")
    if parts.scheme == "https" and target.scheme == "http":
        raise DownloadError("the server sends on from https to http, which anybody can change")
    return target


@dataclass(frozen=True, kw_only=True)
class _Proxy:
    """The user's proxy; `known`: the header with its password, which is sent only to the proxy."""

    scheme: str
    host: str
    port: int
    known: dict[str, str]


def _proxy_of(parts: SplitResult) -> _Proxy | None:
    """Return the proxy from the variables https_proxy, http_proxy and no_proxy. Raises
    DownloadError.
    """
    text = None if proxy_bypass(parts.hostname or "") else getproxies().get(parts.scheme)
    if not text:
        return None
    try:
        at = urlsplit(text if "://" in text else f"http://{text}")
        host, port = at.hostname, at.port
    except ValueError:
        host = port = None
    if not host or at.scheme not in _PORTS:
        message = f"{parts.scheme}_proxy holds no address of an http proxy"
        raise DownloadError(message)
    known = {}
    if at.username is not None:
        words = f"{unquote(at.username)}:{unquote(at.password or '')}".encode()
        known = {"Proxy-Authorization": f"Basic {b64encode(words).decode()}"}
    return _Proxy(scheme=at.scheme, host=host, port=port or _PORTS[at.scheme], known=known)


def _connect(
    parts: SplitResult, limits: Bounds, named: set[Place], redirected: bool
) -> http.client.HTTPConnection:
    """Return a connection to the address or to the user's proxy. `named`: the IP addresses of the
    recipe's own address, filled by the first connection. Raises DownloadError.
    """
    host, port = parts.hostname or "", parts.port or _PORTS[parts.scheme]
    proxy = _proxy_of(parts)
    if proxy is not None and redirected:
        _check_spelled(host)
    try:
        if proxy is None:
            connection = _connection(parts.scheme, host, port, limits)
            dial = _dialer(named, redirected)
            connection._create_connection = dial  # type: ignore[attr-defined]
        elif parts.scheme == "https":
            connection = _connection("https", proxy.host, proxy.port, limits)
            connection.set_tunnel(host, port, proxy.known)
        else:
            connection = _connection(proxy.scheme, proxy.host, proxy.port, limits)
        connection.connect()
    except (OSError, ValueError, http.client.HTTPException) as error:
        raise _explained(error, limits) from error
    return connection


def _connection(scheme: str, host: str, port: int, limits: Bounds) -> http.client.HTTPConnection:
    if scheme == "https":
        context = ssl.create_default_context()
        return http.client.HTTPSConnection(
            host, port, timeout=limits.stall_seconds, context=context
        )
    return http.client.HTTPConnection(host, port, timeout=limits.stall_seconds)


def _dialer(named: set[Place], redirected: bool) -> Callable[..., socket.socket]:
    """Return a function that connects to the checked IP address, even if the name resolves
    differently a moment later.
    """

    def dial(place: tuple[str, int], timeout: float, *_: object) -> socket.socket:
        host, port = place
        problem = OSError("the name has no address")
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        if not redirected:
            ports = (port, _PORTS["https"]) if port == _PORTS["http"] else (port,)
            named.update((host, one, str(address[0])) for *_, address in found for one in ports)
        for family, kind, protocol, _name, address in found:
            number = str(address[0])
            if not is_public(number) and (host, port, number) not in named:
                raise DownloadError(_own(host))
            dialed = socket.socket(family, kind, protocol)
            try:
                dialed.settimeout(timeout)
                dialed.connect(address)
            except OSError as error:
                dialed.close()
                problem = error
                continue
            return dialed
        raise problem

    return dial


def _own(host: str) -> str:
    return (
        f"the server sends on to {one_line(host)[:_LONGEST_WORDS]}, which is this machine or in its"
        " network; where that is meant, the recipe names that address itself"
    )


def is_public(number: str) -> bool:
    """Return whether an IP address, or the IPv4 address embedded in it, is a public one."""
    address = ipaddress.ip_address(number)
    if isinstance(address, ipaddress.IPv6Address):
        inner = address.ipv4_mapped or address.sixtofour
        if address.teredo is not None:
            inner = address.teredo[1]
        if address in _NAT64:
            inner = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
        if inner is not None:
            return is_public(str(inner))
    return address.is_global and not address.is_multicast


def _check_spelled(host: str) -> None:
    """Check a host that a proxy resolves, if it is a literal IP address. Raises DownloadError."""
    number = ""
    with contextlib.suppress(OSError, ValueError):  # 127.1, 0x7f.1, 2130706433, as in C
        number = socket.inet_ntoa(socket.inet_aton(host))
    with contextlib.suppress(ValueError):
        number = str(ipaddress.ip_address(host))
    if _THIS_MACHINE.fullmatch(host) or (number and not is_public(number)):
        raise DownloadError(_own(host))


def _ask(
    connection: http.client.HTTPConnection, parts: SplitResult, limits: Bounds
) -> tuple[http.client.HTTPResponse, Callable[[], None]]:
    """Return the response, and a function that closes the connection from another thread. Raises
    DownloadError.
    """
    path = quote(parts.path or "/", safe=_KEPT)
    path += f"?{quote(parts.query, safe=_KEPT)}" if parts.query else ""
    headers = {"Accept-Encoding": "identity", "User-Agent": "buildsys", "Connection": "close"}
    proxy = _proxy_of(parts)
    if proxy is not None and parts.scheme == "http":
        path = f"http://{parts.netloc}{path}"
        headers |= proxy.known
    taken = connection.sock

    def end() -> None:
        with contextlib.suppress(OSError, ValueError):
            taken.shutdown(socket.SHUT_RDWR)

    with _Watch(limits.stall_seconds, end) as watch:
        try:
            connection.request("GET", path, headers=headers)
            answer = connection.getresponse()
        except (OSError, ValueError, http.client.HTTPException) as error:
            if watch.late:
                raise DownloadError(_stalled(limits)) from error
            raise _explained(error, limits) from error
    if watch.late:  # http.client accepts truncated headers
        answer.close()
        raise DownloadError(_stalled(limits))
    return answer, end


class _Watch:
    """Closes a connection after some time: a socket timeout does not stop a server that sends
    single bytes.
    """

    def __init__(self, seconds: float, end: Callable[[], None]) -> None:
        self.late = False
        self._end = end
        self._timer = threading.Timer(max(seconds, 0.0), self._ring)
        self._timer.daemon = True

    def _ring(self) -> None:
        self.late = True
        self._end()

    def __enter__(self) -> "_Watch":
        self._timer.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._timer.cancel()


def _read(
    answer: http.client.HTTPResponse,
    end: Callable[[], None],
    limits: Bounds,
    ends: float,
    write: Callable[[bytes], object],
    on_progress: OnProgress,
) -> int:
    """Read the body unchanged, without undoing a transfer compression. Raises DownloadError."""
    total, done = answer.length or 0, 0
    if total > limits.most_bytes:
        raise DownloadError(_too_large(limits))
    with _Watch(ends - time.monotonic(), end) as watch:
        while True:
            try:
                piece = answer.read1(_CHUNK)
            except (OSError, ValueError, http.client.HTTPException) as error:
                if watch.late:
                    raise DownloadError(_too_slow(limits, done)) from error
                if isinstance(error, TimeoutError):
                    raise DownloadError(f"{_stalled(limits)}, after {done} bytes") from error
                raise DownloadError(_cut(done, total)) from error
            if not piece:
                break
            done += len(piece)
            if done > limits.most_bytes:
                raise DownloadError(_too_large(limits))
            write(piece)
            on_progress(done, total)
    if watch.late:
        raise DownloadError(_too_slow(limits, done))
    if done < total or (answer.length is None and not answer.chunked and not done):
        raise DownloadError(_cut(done, total))
    return done


def _cut(done: int, total: int) -> str:
    of = f" of {total}" if total else ""
    return f"the server ended after {done}{of} bytes; try again"


def _stalled(limits: Bounds) -> str:
    return f"the server sent nothing for {limits.stall_seconds:g} s; try again"


def _too_slow(limits: Bounds, done: int) -> str:
    hours = limits.most_seconds / _HOUR
    return (
        f"it was not whole after {hours:g} hours ({done} bytes); {TIME_VARIABLE} sets how many a"
        " download may take"
    )


def _too_large(limits: Bounds) -> str:
    return (
        f"it is larger than {limits.most_bytes / _GIB:g} GiB; {SIZE_VARIABLE} sets how many a"
        " download may have"
    )


def _explained(error: Exception, limits: Bounds) -> DownloadError:
    """Return the error of a library as a DownloadError of one line."""
    if isinstance(error, TimeoutError):
        return DownloadError(_stalled(limits))
    if isinstance(error, http.client.RemoteDisconnected):
        return DownloadError("the server ended without an answer; try again")
    words = getattr(error, "strerror", None) or str(error) or type(error).__name__
    shown = one_line(str(words))[:_LONGEST_WORDS]
    if isinstance(error, http.client.BadStatusLine | http.client.UnknownProtocol):
        return DownloadError(f"the server does not answer in HTTP ({shown})")
    return DownloadError(shown)
