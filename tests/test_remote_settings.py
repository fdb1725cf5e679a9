"""Valid addresses of a remote store, and valid combinations of its settings."""

import re

import pytest

from buildsys.remote_settings import (
    RemoteSettings,
    check_endpoint,
    check_public_key,
    check_url,
    read_public_key,
    write_public_key,
)


@pytest.mark.parametrize(
    "url",
    ["s3://team/results", "gs://team", "az://team/a/b", "file:///srv/x", "https://h:8443/x"],
)
def test_a_remote_store_has_a_scheme_and_a_place(url: str) -> None:
    """Buckets, folders and web servers are accepted."""
    check_url(url)


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("/srv/results", "begins with one of"),
        ("ftp://h/x", "begins with one of"),
        ("s3://", "names no bucket"),
        ("https:///x", "names no server"),
        ("file://srv/x", "absolute path"),
        ("file:///", "absolute path"),
        ("s3://key:secret@team/x", "credentials do not belong in a URL"),
        ("https://me@h/x", "credentials do not belong in a URL"),
        ("https://h/x?token=1", "no `?`"),
        ("https://h:port/x", "it is not a URL"),
        ("https://[::1/x", "it is not a URL"),
    ],
)
def test_what_names_no_remote_store_is_refused(url: str, why: str) -> None:
    """Other addresses are refused, and the message says what is valid."""
    with pytest.raises(ValueError, match=re.escape(why)):
        check_url(url)


def test_settings_that_do_not_go_together_are_refused() -> None:
    """Two addresses, and writing to a web server, are refused."""
    check_endpoint("http://127.0.0.1:9000")
    with pytest.raises(ValueError, match="address of a server"):
        check_endpoint("127.0.0.1:9000")
    with pytest.raises(ValueError, match="is only for s3://"):
        RemoteSettings(url="gs://team", endpoint="https://h")
    with pytest.raises(ValueError, match="can only be read"):
        RemoteSettings(url="https://h/x", mode="read-write")


def test_a_public_key_is_read_as_it_was_written() -> None:
    """A public key is read as it was written; invalid ones are refused."""
    text = write_public_key(bytes(range(32)))
    assert read_public_key(text) == bytes(range(32))
    for other in ("", text[8:], text[:-1], f"{text}=", "ed25519:AAAA", "rsa:AAAA"):
        with pytest.raises(ValueError, match="a public key is ed25519:"):
            check_public_key(other)
