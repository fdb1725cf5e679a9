"""The entry of an action in a remote store, with the signature of its uploader.

An entry counts only under the name that was requested: it contains its action and the architecture
that it depends on. A signature covers everything in the entry.
"""

import base64
import binascii
import os
import stat
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from buildsys.digest import canonical
from buildsys.errors import BuildsysError, CannotWrite
from buildsys.execution.store.action_entry import ActionEntry, check_entry
from buildsys.files import open_regular, write_new
from buildsys.records import read_record, write_record
from buildsys.remote_settings import read_public_key, write_public_key
from buildsys.write_errors import writing

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

MARK = "buildsys-remote.json"
"""The object that names a remote store's layout."""
VARIABLE = "BUILDSYS_SIGNING_KEY"
_PURPOSE = b"buildsys: the result of an action\n"
_MISSING_LIBRARY = (
    "signatures need cryptography, which is not installed: `pip install 'buildsys[remote]'`"
)


@dataclass(frozen=True, kw_only=True)
class RemoteEntry:
    """An entry, the public key of its signer, and the signature; both are empty without a
    signature.
    """

    entry: ActionEntry
    signer: str = ""
    signature: str = ""
    format: Literal[1] = 1


@dataclass(frozen=True, kw_only=True)
class RemoteMark:
    """The layout of a remote store."""

    format: Literal[1] = 1


class NotTrusted(ValueError):
    """An entry that is valid but not signed by a trusted key."""


def write_remote_entry(entry: ActionEntry, key: "SigningKey | None") -> bytes:
    """Return an entry in the form of a remote store, signed if there is a key."""
    if key is None:
        return write_record(RemoteEntry(entry=entry))
    signature = base64.b64encode(key.sign(_message(entry))).decode()
    return write_record(RemoteEntry(entry=entry, signer=key.public, signature=signature))


def read_remote_entry(
    data: bytes, key: str, machine: str, trusted: Iterable[str] = ()
) -> ActionEntry:
    """Return the entry of an action for an architecture.

    Raises ValueError for a damaged entry, another action or another architecture; NotTrusted if
    keys are trusted and none of them has signed it.
    """
    found = _read(data, key, machine)
    known = tuple(trusted)
    if known:
        if found.signer not in known:
            raise NotTrusted("no trusted key has signed it")
        if not _is_signed(found):
            raise NotTrusted("its signature does not belong to a trusted key")
    return found.entry


def read_unchecked(data: bytes, key: str, machine: str) -> ActionEntry:
    """Read an entry without checking its signature: for callers that only keep or remove its
    blobs.
    """
    return _read(data, key, machine).entry


def _read(data: bytes, key: str, machine: str) -> RemoteEntry:
    found = read_record(RemoteEntry, data)
    check_entry(key, found.entry)
    if found.entry.machine != machine:
        raise ValueError("the entry of another architecture")
    return found


def _message(entry: ActionEntry) -> bytes:
    return _PURPOSE + canonical(entry).encode()


def _is_signed(found: RemoteEntry) -> bool:
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    try:
        signature = base64.b64decode(found.signature, validate=True)
        public = Ed25519PublicKey.from_public_bytes(read_public_key(found.signer))
        public.verify(signature, _message(found.entry))
    except (InvalidSignature, binascii.Error, ValueError):
        return False
    return True


def check_signatures() -> None:
    """Raise BuildsysError if signatures cannot be checked here."""
    try:
        import cryptography  # noqa: F401 # only its presence matters
    except ImportError as error:
        raise BuildsysError(_MISSING_LIBRARY) from error


class SigningKey:
    """A private key, whose public half other users list under `trusted`."""

    def __init__(self, private: "Ed25519PrivateKey") -> None:
        self._private = private
        self.public = write_public_key(private.public_key().public_bytes_raw())

    def sign(self, message: bytes) -> bytes:
        """Return the signature of a message, 64 bytes."""
        signature: bytes = self._private.sign(message)
        return signature


def configured_key() -> SigningKey | None:
    """Return the key in the file that BUILDSYS_SIGNING_KEY names; None if the variable is not set.

    Raises BuildsysError for a file that other users may read, and for a file without an Ed25519
    key.
    """
    place = os.environ.get(VARIABLE)
    if not place:
        return None
    try:
        with open_regular(Path(place), follow=True) as file:
            others = stat.S_IMODE(os.fstat(file.fileno()).st_mode) & 0o077
            data = file.read(1 << 16)
    except OSError as error:
        raise BuildsysError(f"{VARIABLE} is {place}: {error.strerror or error}") from error
    if others:
        raise BuildsysError(
            f"{VARIABLE} is {place}, which other users can read or write: `chmod 600 {place}`"
        )
    check_signatures()
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        private = load_pem_private_key(data, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        private = None
    if not isinstance(private, Ed25519PrivateKey):
        raise BuildsysError(
            f"{VARIABLE} is {place}, which does not contain an Ed25519 key without a password:"
            " `buildsys remote keygen FILE` writes one"
        )
    return SigningKey(private)


def make_key(path: Path) -> str:
    """Write a new private key that only its owner can read; returns the public key.

    Raises CannotWrite if the file exists.
    """
    check_signatures()
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    private = Ed25519PrivateKey.generate()
    text = private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    with writing("a key", path.parent):
        try:
            write_new(path, text, mode=0o600)
        except FileExistsError as error:
            raise CannotWrite(f"{path} already exists; name another file") from error
    return SigningKey(private).public
