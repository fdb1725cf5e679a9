"""Values of `remote` in buildsys.yaml, and their checks."""

import hashlib
import os
from dataclasses import dataclass
from typing import Literal
from urllib.parse import SplitResult, unquote, urlsplit

from buildsys.cluster_settings import is_loopback
from buildsys.escaping import hide_passwords
from buildsys.typed_json import Mismatch, check_at

SCHEMES = ("s3", "gs", "az", "file", "https", "http")
READ_ONLY_SCHEMES = ("https", "http")
ONLY_READ = "a remote store at http:// or https:// can only be read"
_KEY = "ed25519:"

Mode = Literal["read", "read-write"]
MODE_MOVED = (
    "buildsys.yaml names a store to read; to write, set BUILDSYS_REMOTE=URL and"
    " BUILDSYS_REMOTE_MODE=read-write in your environment"
)
"""The hint for `mode` in the file, where earlier releases read it."""


def check_url(url: str) -> None:
    """Raise ValueError for a URL that is not a remote store's, or contains credentials."""
    scheme, parts = _split(url)
    if scheme not in SCHEMES:
        known = ", ".join(f"{name}://" for name in SCHEMES)
        raise ValueError(f"a remote store begins with one of {known}")
    if parts.query or parts.fragment:
        raise ValueError("a remote store has no `?` and no `#` in its URL")
    if not unquote(url).isprintable():
        raise ValueError("a URL has no control characters")
    if scheme == "file":
        if parts.netloc or not parts.path.strip("/"):
            raise ValueError("a folder is written with an absolute path: file:///srv/results")
    elif not parts.hostname:
        raise ValueError(f"the URL names no {'server' if scheme.startswith('http') else 'bucket'}")


def check_endpoint(url: str) -> None:
    """Raise ValueError for a text that is not the address of a server."""
    scheme, parts = _split(url)
    if scheme not in READ_ONLY_SCHEMES or not parts.hostname:
        raise ValueError("an endpoint is the address of a server: https://s3.example.com")
    if scheme == "http" and not is_loopback(parts.hostname or ""):
        raise ValueError(
            "credentials would cross the network unprotected: use https://, or AWS_ENDPOINT_URL where"
            " that is meant"
        )


def _split(url: str) -> tuple[str, SplitResult]:
    try:
        parts = urlsplit(url)
        parts.port  # noqa: B018 # checked here: it raises
    except ValueError as error:
        raise ValueError(f"it is not a URL: {error}") from None
    if parts.username is not None or parts.password is not None:
        raise ValueError(
            "credentials do not belong in a URL: set the provider's own variables"
            " (AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY for s3://)"
        )
    return parts.scheme, parts


def check_public_key(text: str) -> None:
    """Raise ValueError for a text that is not a public key as `buildsys remote keygen` prints
    it.
    """
    try:
        data = _decode(text)
    except ValueError:
        data = b""
    if not text.startswith(_KEY) or len(data) != 32:
        raise ValueError(f"a public key is {_KEY} and 44 characters: `buildsys remote keygen`")


def write_public_key(data: bytes) -> str:
    """Return a public key of 32 bytes in the form of `trusted`."""
    from base64 import b64encode

    return _KEY + b64encode(data).decode()


def read_public_key(text: str) -> bytes:
    """Return the 32 bytes of a public key. Raises ValueError."""
    check_public_key(text)
    return _decode(text)


def _decode(text: str) -> bytes:
    from base64 import b64decode  # not needed by a run that reads nothing

    return b64decode(text.removeprefix(_KEY), validate=True)


@dataclass(frozen=True, kw_only=True)
class RemotePlace:
    """A remote store, as a commit may name it; its credentials are the provider's variables."""

    url: str
    endpoint: str = ""
    """Address of the server, for s3:// at other providers than Amazon."""
    trusted: tuple[str, ...] = ()
    """Public keys; if there are any, results that none of them signed count as absent."""

    def __post_init__(self) -> None:
        """Raise Mismatch for an invalid value, or values that exclude each other, at their
        place.
        """
        check_at(check_url, self.url, "url")
        if self.endpoint:
            check_at(check_endpoint, self.endpoint, "endpoint")
        for index, key in enumerate(self.trusted):
            check_at(check_public_key, key, "trusted", index)
        if self.endpoint and self.scheme != "s3":
            raise Mismatch("`endpoint` is only for s3://", ("endpoint",))

    @property
    def scheme(self) -> str:
        """Return the scheme of the URL."""
        return self.url.partition(":")[0]


@dataclass(frozen=True, kw_only=True)
class RemoteSettings(RemotePlace):
    """A remote store, and what the user allows a run to do there."""

    mode: Mode = "read"

    def __post_init__(self) -> None:
        """Raise Mismatch, see `RemotePlace`; also for writing to a store that can only be read."""
        super().__post_init__()
        if self.writes and self.scheme in READ_ONLY_SCHEMES:
            raise Mismatch(ONLY_READ, ("mode",))

    @property
    def writes(self) -> bool:
        """Return whether results are uploaded."""
        return self.mode == "read-write"


ADDRESSES = {
    "s3": ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT"),
    "az": ("AZURE_STORAGE_ACCOUNT_NAME", "AZURE_STORAGE_ENDPOINT", "AZURE_ENDPOINT"),
}
"""Variables of the providers that name the server or its owner, which the URL alone does not."""


def addresses(settings: RemotePlace) -> tuple[str, ...]:
    """Return where a remote store is, beside its URL: its endpoint, or the provider's variables.

    Reading by the file and writing by variables then means the same store.
    """
    if settings.endpoint:
        return (settings.endpoint,)
    found = (os.environ.get(name, "") for name in ADDRESSES.get(settings.scheme, ()))
    return tuple(dict.fromkeys(filter(None, found)))


def variables_of(place: RemotePlace | None) -> str:
    """Return the setting of the environment that names a remote store, in a shell's notation."""
    if place is None:
        return "BUILDSYS_REMOTE=URL"
    address = f" AWS_ENDPOINT_URL={place.endpoint}" if place.endpoint else ""
    return f"BUILDSYS_REMOTE={place.url}{address}"


def describe_remote(settings: RemotePlace) -> str:
    """Return a remote store's name in messages, with the server where the URL does not
    contain it.
    """
    address = next(iter(addresses(settings)), "")
    return f"{settings.url} at {hide_passwords(address)}" if address else settings.url


def remote_id(settings: RemotePlace) -> str:
    """Return an identity for a remote store: the same bucket on another server differs."""
    text = "\n".join((settings.url, *addresses(settings)))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def trust_id(settings: RemotePlace) -> str:
    """Return an identity for a remote store and its trusted keys: results count where both are
    equal.
    """
    text = "\n".join((remote_id(settings), *sorted(settings.trusted)))
    return hashlib.sha256(text.encode()).hexdigest()[:16]
