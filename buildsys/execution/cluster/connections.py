"""Connections of a cluster: its certificate, TLS, and reasons for failed connections."""

import logging
import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from buildsys.cluster_settings import is_loopback
from buildsys.errors import CannotWrite, InputError, shorten
from buildsys.execution.places import Workspace, cache_root, config_root
from buildsys.execution.settings.stores import is_inside
from buildsys.files import open_regular, write_new
from buildsys.write_errors import writing

if TYPE_CHECKING:
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric import ec
    from distributed import Security

_DAYS = 3650
_LARGEST_CERTIFICATE = 1 << 20


MOST_DEATHS = 1
"""Deaths of a step's worker that are tolerated; the next one fails the step."""
_SETTINGS = {
    "distributed.scheduler.allowed-failures": MOST_DEATHS,
    "distributed.scheduler.worker-ttl": "60s",
    "distributed.comm.timeouts.connect": "10s",
    "distributed.comm.timeouts.tcp": "30s",
    # measurements that nothing here reads, and that cost an idle process three percent of a core
    "distributed.worker.profile.enabled": False,
    "distributed.admin.tick.interval": "1s",
    "distributed.admin.system-monitor.interval": "5s",
    # pages about tasks, without a password
    "distributed.scheduler.http.routes": [],
    "distributed.worker.http.routes": [],
}
NO_PAGES = "127.0.0.1:0"
"""The address of dask's web server, which cannot be disabled; it serves no pages."""


_LOGGERS = ("distributed", "distributed.client", "distributed.gc", "tornado.application")
"""Loggers whose levels dask sets when it is imported: `distributed.config`."""


def configure() -> None:
    """Configure dask in this process: for steps that take minutes, and workers that come and go."""
    import dask
    import distributed  # noqa: F401  sets the levels

    dask.config.set(_SETTINGS)
    # a scheduler imports from there before all else: never from a folder that others may make
    dask.config.set({"temporary-directory": str(cache_root() / "dask")})
    for name in _LOGGERS:
        logging.getLogger(name).setLevel(logging.CRITICAL)  # buildsys prints what happens


def probe(address: str, seconds: float, certificate: Path | None) -> None:
    """Connect once, as dask does. Raises OSError; ssl.SSLError where a certificate is refused.

    dask itself would retry, and then only report a timeout.
    """
    parts = urlsplit(address)
    with socket.create_connection((parts.hostname or "", parts.port or 0), seconds) as connection:
        if certificate is not None:
            context = security(certificate).get_connection_args("client")["ssl_context"]
            with context.wrap_socket(connection) as protected:
                # TLS 1.3: a refusal of our certificate arrives after the handshake; a side that
                # accepts it sends first (distributed.comm.core.Listener.on_connection)
                if not protected.recv(1):
                    raise ConnectionResetError("the other side ends the connection")


def listening_host(scheduler: str, host: str) -> str | None:
    """Return the host on which a worker listens; None for every address.

    Beside a scheduler of this machine a worker listens for this machine alone. `host`: from the
    command line.
    """
    found = urlsplit(scheduler).hostname or ""
    return host or (found if is_loopback(found) else None)


def read_certificate(path: Path, place: str) -> Path:
    """Return the file with a cluster's certificate and key. Raises InputError if it cannot be used.

    `place`: what named it, for the message.
    """
    try:
        with open_regular(path, follow=True) as stream:
            text = stream.read(_LARGEST_CERTIFICATE).decode("ascii")
    except (OSError, UnicodeDecodeError) as error:
        what = getattr(error, "strerror", "") or "it is not text"
        raise InputError.at(
            place,
            f"{path} cannot be read: {what}",
            "it is the file that `buildsys scheduler --tls` made, on every machine of the cluster",
        ) from error
    if "PRIVATE KEY-----" not in text or "BEGIN CERTIFICATE-----" not in text:
        raise InputError.at(
            place,
            f"{path} does not contain a certificate and its key",
            "copy the whole file that `buildsys scheduler --tls` made",
        )
    return path


def check_outside(path: Path, folder: Path) -> None:
    """Raise InputError for a certificate in a repository, where a commit could publish its key.

    `folder`: the workspace, if it is one.
    """
    roots = (folder.absolute(), path.absolute().parent, path.resolve().parent)
    if any(is_inside(path, Workspace(root)) for root in roots):
        raise InputError.at(
            "--tls",
            f"{path.absolute()} is in a repository, where a commit could publish the key of the cluster",
            f"name a file outside of it: `--tls {config_root() / path.name}`",
        )


def make_certificate(path: Path, print_line: Callable[[str], None]) -> None:
    """Create the file with a certificate and its key if it is missing, readable by its owner only.

    A cluster has one self-signed certificate; every machine that has the file belongs to the
    cluster.
    """
    if os.path.lexists(path):
        return
    try:
        from cryptography.hazmat.primitives import serialization
    except ImportError as error:
        raise CannotWrite(
            f"{path} cannot be created: run `pip install 'buildsys[cluster]'`, which can create certificates."
        ) from error
    key, certificate = _new_certificate()
    text = certificate.public_bytes(serialization.Encoding.PEM) + key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    with writing("the certificate of the cluster", path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            write_new(path, text.decode(), mode=0o600)
        except FileExistsError:  # another scheduler has created it meanwhile
            return
    print_line(
        f"wrote {path}. Copy it to every worker and everyone who builds; anyone who has it can run code on the"
        " workers."
    )


def _new_certificate() -> "tuple[ec.EllipticCurvePrivateKey, x509.Certificate]":
    import datetime as dt

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import NameOID

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "buildsys cluster")])
    now = dt.datetime.now(dt.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))  # clocks differ
        .not_valid_after(now + dt.timedelta(days=_DAYS))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    return key, certificate


def security(certificate: Path | None) -> "Security":
    """Return dask's settings for TLS with a cluster's certificate, or for connections without
    TLS.
    """
    from distributed import Security

    if certificate is None:
        return Security()
    file = str(certificate)
    return Security(
        require_encryption=True,
        tls_ca_file=file,
        tls_client_cert=file,
        tls_client_key=file,
        tls_scheduler_cert=file,
        tls_scheduler_key=file,
        tls_worker_cert=file,
        tls_worker_key=file,
    )


_OTHER = "the certificate does not belong to this cluster: copy the file of the scheduler to this machine"
_NOT_LISTENING, _NO_ANSWER = "nothing listens there", "it does not answer"
_REASONS = (
    ("certificate", _OTHER),
    ("CERTIFICATE", _OTHER),
    ("UNKNOWN_CA", _OTHER),
    ("SSL", "only one side uses TLS, or the certificates differ"),
    ("name taken", "there is already a worker of that name; use `--name`"),
    ("refused", _NOT_LISTENING),
    ("reset by peer", "it ends the connection: it is not a scheduler, or only one side uses TLS"),
    ("in use", "another program listens there"),
    ("not known", "the host name is unknown"),
    ("timed out", _NO_ANSWER),
    ("Timed out", _NO_ANSWER),
)
"""Parts of dask's error messages, and their meaning."""


def may_be_off(reason: str) -> bool:
    """Return whether a reason of `explain_failure` means that the program may not be running."""
    return reason in (_NOT_LISTENING, _NO_ANSWER)


def explain_failure(error: BaseException) -> str:
    """Return why a connection failed, in words."""
    texts = []
    known: BaseException | None = error
    while known is not None:
        texts.append(str(known))
        known = known.__cause__ or known.__context__
    text = " / ".join(texts)
    for sign, reason in _REASONS:
        if sign in text:
            return reason
    return shorten(texts[0] or type(error).__name__, 200)
