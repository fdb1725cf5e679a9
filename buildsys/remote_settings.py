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
_KEY = "ed25519:"

Mode = Literal["read", "read-write"]
MODE_MOVED = (
    "buildsys.yaml names a store to read; to write, set BUILDSYS_REMOTE=URL and"
    " BUILDSYS_REMOTE_MODE=read-write in your environment"
)
"""What is said of `mode` in the file, where it was once."""


def check_url(url: str) -> None:
    """Raises ValueError for what names no remote store, and for one with credentials in it."""
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
    """Raises ValueError for what is not the address of a server."""
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
        parts.port  # noqa: B018 # it is looked at here, and raises
    except ValueError as error:
        raise ValueError(f"it is not a URL: {error}") from None
    if parts.username is not None or parts.password is not None:
        raise ValueError(
            "credentials do not belong into a URL: the provider's own variables hold them"
            " (AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY for s3://)"
        )
    return parts.scheme, parts


def check_public_key(text: str) -> None:
    """Raises ValueError for what is not a public key as `buildsys remote keygen` prints it."""
    try:
        data = _decode(text)
    except ValueError:
        data = b""
    if not text.startswith(_KEY) or len(data) != 32:
        raise ValueError(f"a public key is {_KEY} and 44 characters: `buildsys remote keygen`")


def write_public_key(data: bytes) -> str:
    """A public key of 32 bytes, as `trusted` lists it."""
    from base64 import b64encode

    return _KEY + b64encode(data).decode()


def read_public_key(text: str) -> bytes:
    """The 32 bytes of a public key. Raises ValueError."""
    check_public_key(text)
    return _decode(text)


def _decode(text: str) -> bytes:
    from base64 import b64decode  # a run that reads nothing does without it

    return b64decode(text.removeprefix(_KEY), validate=True)


@dataclass(frozen=True, kw_only=True)
class RemotePlace:
    """A remote store, as a commit may name it; its credentials are the provider's affair and stand nowhere
    here.
    """

    url: str
    endpoint: str = ""
    """Address of the server, for s3:// elsewhere than at Amazon."""
    trusted: tuple[str, ...] = ()
    """Public keys; if there are any, results that none of them signed count as absent."""

    def __post_init__(self) -> None:
        """Raises Mismatch, at its place, for what a value cannot be, and for values that do not go together."""
        check_at(check_url, self.url, "url")
        if self.endpoint:
            check_at(check_endpoint, self.endpoint, "endpoint")
        for index, key in enumerate(self.trusted):
            check_at(check_public_key, key, "trusted", index)
        if self.endpoint and self.scheme != "s3":
            raise Mismatch("`endpoint` belongs to s3:// alone", ("endpoint",))

    @property
    def scheme(self) -> str:
        """How the URL begins."""
        return self.url.partition(":")[0]


@dataclass(frozen=True, kw_only=True)
class RemoteSettings(RemotePlace):
    """A remote store, and what a person lets a run do there."""

    mode: Mode = "read"

    def __post_init__(self) -> None:
        """Raises Mismatch, see `RemotePlace`; for a store to write that can only be read, too."""
        super().__post_init__()
        if self.writes and self.scheme in READ_ONLY_SCHEMES:
            raise Mismatch("what http:// and https:// lead to can only be read", ("mode",))

    @property
    def writes(self) -> bool:
        """Whether results are put there."""
        return self.mode == "read-write"


ADDRESSES = {
    "s3": ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT"),
    "az": ("AZURE_STORAGE_ACCOUNT_NAME", "AZURE_STORAGE_ENDPOINT", "AZURE_ENDPOINT"),
}
"""Variables of the providers that say where the server is, or whose: the URL alone does not."""


def addresses(settings: RemotePlace) -> tuple[str, ...]:
    """Where a remote store is, beside its URL: its endpoint, else what the provider's variables say. Who
    reads by the file and writes by variables has one store.
    """
    if settings.endpoint:
        return (settings.endpoint,)
    found = (os.environ.get(name, "") for name in ADDRESSES.get(settings.scheme, ()))
    return tuple(dict.fromkeys(filter(None, found)))


def variables_of(place: RemotePlace | None) -> str:
    """What names a remote store in the environment, as a shell has it."""
    if place is None:
        return "BUILDSYS_REMOTE=URL"
    address = f" AWS_ENDPOINT_URL={place.endpoint}" if place.endpoint else ""
    return f"BUILDSYS_REMOTE={place.url}{address}"


def describe_remote(settings: RemotePlace) -> str:
    """A remote store as messages name it, with the server that is asked where the URL does not say it."""
    address = next(iter(addresses(settings)), "")
    return f"{settings.url} at {hide_passwords(address)}" if address else settings.url


def remote_id(settings: RemotePlace) -> str:
    """Names a remote store in the store of a machine: the same bucket of another server is another."""
    text = "\n".join((settings.url, *addresses(settings)))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def trust_id(settings: RemotePlace) -> str:
    """Names a remote store and whom one trusts there: results of it count where both are the same."""
    text = "\n".join((remote_id(settings), *sorted(settings.trusted)))
    return hashlib.sha256(text.encode()).hexdigest()[:16]
