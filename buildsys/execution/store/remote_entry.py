"""The entry of an action as a remote store keeps it, with the signature of who put it there.

An entry counts only under the name that it was asked for by: it names its action, and the machine
whose arithmetic is in it. A signature is made over all that the entry says.
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
"""The object that says which layout a remote store has."""
LARGEST_ENTRY = 1 << 20
"""Bytes of an entry: larger than any, small enough to be read at once."""
VARIABLE = "BUILDSYS_SIGNING_KEY"
_PURPOSE = b"buildsys: the result of an action\n"
_MISSING_LIBRARY = (
    "signatures need cryptography, which is not installed: `pip install 'buildsys[remote]'`"
)


@dataclass(frozen=True, kw_only=True)
class RemoteEntry:
    """An entry, the public key of who signed it, and the signature; both empty where nobody did."""

    entry: ActionEntry
    signer: str = ""
    signature: str = ""
    format: Literal[1] = 1


@dataclass(frozen=True, kw_only=True)
class RemoteMark:
    """What a remote store says of itself."""

    format: Literal[1] = 1


class NotTrusted(ValueError):
    """An entry that is whole, and that no trusted key has signed."""


def write_remote_entry(entry: ActionEntry, key: "SigningKey | None") -> bytes:
    """An entry as a remote keeps it, signed where there is a key."""
    if key is None:
        return write_record(RemoteEntry(entry=entry))
    signature = base64.b64encode(key.sign(_message(entry))).decode()
    return write_record(RemoteEntry(entry=entry, signer=key.public, signature=signature))


def read_remote_entry(
    data: bytes, key: str, machine: str, trusted: Iterable[str] = ()
) -> ActionEntry:
    """The entry of an action, of a kind of machine. Raises ValueError for a damaged one and for that of
    another action or machine, NotTrusted where keys are trusted and none of them has signed it.
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
    """`read_remote_entry`, whoever signed it: for those who only keep or remove what it names."""
    return _read(data, key, machine).entry


def _read(data: bytes, key: str, machine: str) -> RemoteEntry:
    found = read_record(RemoteEntry, data)
    check_entry(key, found.entry)
    if found.entry.machine != machine:
        raise ValueError("the entry of another kind of machine")
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
    """Raises BuildsysError where signatures cannot be checked here."""
    try:
        import cryptography  # noqa: F401 # it is there
    except ImportError as error:
        raise BuildsysError(_MISSING_LIBRARY) from error


class SigningKey:
    """A private key, whose public half others list under `trusted`."""

    def __init__(self, private: "Ed25519PrivateKey") -> None:
        self._private = private
        self.public = write_public_key(private.public_key().public_bytes_raw())

    def sign(self, message: bytes) -> bytes:
        """The signature of a message, 64 bytes."""
        signature: bytes = self._private.sign(message)
        return signature


def configured_key() -> SigningKey | None:
    """The key in the file that BUILDSYS_SIGNING_KEY names; None where it names none.

    Raises BuildsysError for a file that others may read, and for what is not an Ed25519 key.
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
    """Write a new private key, readable by its owner alone; returns the public key.

    Raises CannotWrite where a file is there already.
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
