"""Entries in a remote store: their action, machine and signature."""

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest

from buildsys.digest import digest_bytes
from buildsys.errors import BuildsysError, CannotWrite
from buildsys.execution.store.action_entry import action_name, machine_of, make_entry, this_machine
from buildsys.execution.store.remote_entry import (
    NotTrusted,
    RemoteEntry,
    SigningKey,
    configured_key,
    make_key,
    read_remote_entry,
    write_remote_entry,
)
from buildsys.graph import StepResult
from buildsys.records import write_record
from tests.execution.store.test_shared_store import KEY, Connect, connect, entry_of
from tests.sample_steps import make_plan, make_state, make_step

__all__ = ["connect"]
OTHER = "d" * 64
ENTRY = entry_of("a" * 64)


@pytest.fixture
def signer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SigningKey:
    """A private key in a file that the environment names."""
    public = make_key(tmp_path / "key.pem")
    monkeypatch.setenv("BUILDSYS_SIGNING_KEY", str(tmp_path / "key.pem"))
    found = configured_key()
    assert found is not None
    assert found.public == public
    return found


def test_an_entry_counts_for_its_action_and_machine_alone() -> None:
    """An entry is only valid for its action and machine."""
    data = write_remote_entry(ENTRY, None)
    assert read_remote_entry(data, KEY, "") == ENTRY
    with pytest.raises(ValueError, match="another action"):
        read_remote_entry(data, OTHER, "")
    with pytest.raises(ValueError, match="another architecture"):
        read_remote_entry(data, KEY, "aarch64")
    for damaged in (b"", data[:-2], data.replace(b"convert", b"convers"), b"[" * 5000):
        with pytest.raises(ValueError, match="damaged"):
            read_remote_entry(damaged, KEY, "")


def test_where_keys_are_trusted_only_what_they_signed_counts(
    signer: SigningKey, tmp_path: Path
) -> None:
    """With trusted keys, missing, foreign and wrong signatures are rejected."""
    signed = write_remote_entry(ENTRY, signer)
    assert read_remote_entry(signed, KEY, "", [signer.public]) == ENTRY
    with pytest.raises(NotTrusted, match="no trusted key has signed it"):
        read_remote_entry(write_remote_entry(ENTRY, None), KEY, "", [signer.public])
    other = make_key(tmp_path / "other.pem")
    with pytest.raises(NotTrusted, match="no trusted key"):
        read_remote_entry(signed, KEY, "", [other])
    forged = replace(ENTRY, passed=False)
    signature = signer.sign(b"something else").hex()
    for text in (signature, "", "é"):
        claim = RemoteEntry(entry=forged, signer=signer.public, signature=text)
        with pytest.raises(NotTrusted, match="its signature does not"):
            read_remote_entry(write_record(claim), KEY, "", [signer.public])


def test_a_private_key_is_its_owner_s_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A private key is written readable only by its owner, never over a file, and rejected if
    others can read it.
    """
    key = tmp_path / "keys" / "key.pem"
    make_key(key)
    assert key.stat().st_mode & 0o777 == 0o600
    with pytest.raises(CannotWrite, match="already exists"):
        make_key(key)
    monkeypatch.setenv("BUILDSYS_SIGNING_KEY", str(key))
    key.chmod(0o640)
    with pytest.raises(BuildsysError, match="chmod 600"):
        configured_key()
    key.chmod(0o600)
    key.write_text("no key")
    with pytest.raises(BuildsysError, match="does not contain an Ed25519 key"):
        configured_key()
    monkeypatch.setenv("BUILDSYS_SIGNING_KEY", str(tmp_path / "none"))
    with pytest.raises(BuildsysError, match="No such file"):
        configured_key()
    monkeypatch.setenv("BUILDSYS_SIGNING_KEY", "")
    assert configured_key() is None


def test_what_a_remote_says_without_a_signature_counts_as_absent(
    connect: Connect, signer: SigningKey, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Signed results are used, unsigned ones are not, and a machine without a key only reads."""
    one = connect("one", "read-write", trusted=(signer.public,))
    entry = entry_of(one.put_bytes(b"made"))
    one.record(entry)
    one.push(entry)
    two = connect("two", trusted=(signer.public,))
    two.look_up([(KEY, "")])
    assert two.recall(KEY) == entry
    unsigned = tmp_path / "remote" / action_name(KEY)
    unsigned.write_bytes(write_remote_entry(entry, None))
    three = connect("three", trusted=(signer.public,))
    said: list[str] = []
    three.print_line = said.append
    three.look_up([(KEY, "")])
    assert three.recall(KEY) is None
    assert said == [
        f"file://{tmp_path}/remote: one of its results was ignored: no trusted key has signed it"
    ]
    monkeypatch.delenv("BUILDSYS_SIGNING_KEY")
    four = connect("four", "read-write", trusted=(signer.public,))
    four.print_line = said.append
    assert (four.remote.writes, four.remote.reads) == (False, True)
    assert said[1].endswith("BUILDSYS_SIGNING_KEY names no key")


@pytest.mark.parametrize("poison", ["another key", "not a record", "a folder"])
def test_a_forged_action_is_ignored(connect: Connect, tmp_path: Path, poison: str) -> None:
    """A forged action is ignored, and nothing is written outside the store."""
    one = connect("one", "read-write")
    entry = entry_of(one.put_bytes(b"made"))
    one.record(entry)
    one.push(entry)
    place = tmp_path / "remote" / action_name(OTHER)
    place.parent.mkdir(parents=True)
    if poison == "another key":
        place.write_bytes((tmp_path / "remote" / action_name(KEY)).read_bytes())
    elif poison == "a folder":
        (place / "x").mkdir(parents=True)
    else:
        place.write_bytes(b'{"key": "../../x"}')
    two = connect("two")
    two.look_up([(KEY, ""), (OTHER, "")])
    assert (two.recall(OTHER), two.recall(KEY)) == (None, entry)
    assert {path.name for path in tmp_path.iterdir()} <= {"one", "two", "remote", "cache"}


@pytest.mark.parametrize("name", ["../../stolen", "/stolen", "a/../../stolen", "a\\b", "a\0b"])
def test_a_remote_cannot_name_a_path(connect: Connect, tmp_path: Path, name: str) -> None:
    """A tree with paths outside its folder counts as missing."""
    one, two = connect("one", "read-write"), connect("two")
    index = json.dumps([[name, 4, one.put_bytes(b"evil")]], separators=(",", ":")).encode()
    entry = entry_of(one.put_bytes(index), tree=True)
    for output in entry.outputs:
        one.push_blobs(output.digest, tree=False)
    one.push_blobs(digest_bytes(b"evil"), tree=False)
    one.remote.put_entry(entry)
    two.look_up([(KEY, "")])
    with pytest.raises(FileNotFoundError):
        two.fetch(entry.outputs[0].digest, tmp_path / "out" / "made", tree=True)
    assert not two.has(entry.outputs[0].digest, tree=True)
    assert [path for path in tmp_path.rglob("*") if "stolen" in path.name] == []


def test_results_of_another_architecture_do_not_count(tmp_path: Path) -> None:
    """Results of another architecture are not used, except those that do not depend on it."""
    step = make_step("convert", tool_env="tools")
    assert machine_of(step) == this_machine()
    assert machine_of(make_step("gate")) == ""
    assert machine_of(make_step("engine", tool_env="tools", requires="tensorrt 10.3 sm87")) == ""
    state = make_state(tmp_path, make_plan(step))
    key = state.key(step)
    assert key is not None
    result = StepResult(outputs=(("made", state.store.put_bytes(b"x")),), seconds=1.0, passed=True)
    entry = make_entry(step, key.key, result)
    assert entry.machine == this_machine()
    state.store.record(replace(entry, machine="another"))
    assert state.recall(step, key.key) is None
    for machine in (this_machine(), ""):  # "": an entry of an earlier release
        state.store.record(replace(entry, machine=machine))
        assert state.recall(step, key.key) == result
    assert action_name(KEY, "x86_64") == f"actions/cc/{KEY}.x86_64.json"
    assert os.path.basename(action_name(KEY)) == f"{KEY}.json"
