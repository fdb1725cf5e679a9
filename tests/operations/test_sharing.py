"""The commands for a team's store: push, pull, status, check and gc."""

import os
import re
import shutil
import sys
from pathlib import Path

import pytest

from buildsys.cli import main
from buildsys.execution.session.session import Session
from buildsys.execution.store.remote import write_mark
from buildsys.execution.store.remote_entry import MARK, make_key
from buildsys.execution.store.store import Store
from buildsys.execution.store.tree_index import all_blobs
from buildsys.graph import Status
from buildsys.lockfile import read_lock
from buildsys.report import writing
from tests.conftest import StandIn, no_environment
from tests.object_servers import http_server
from tests.operations import golden
from tests.processes import shipped

Capture = pytest.CaptureFixture[str]


@pytest.fixture
def remote(tmp_path: Path, workspace: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A remote store in a folder, writable for the workspace."""
    folder = tmp_path / "remote"
    folder.mkdir()
    monkeypatch.setenv("BUILDSYS_REMOTE", f"file://{folder}")
    monkeypatch.setenv("BUILDSYS_REMOTE_MODE", "read-write")
    return folder


def say(workspace: Path, capsys: Capture, *words: str) -> tuple[int, str]:
    """Run a command; return its exit code and output."""
    capsys.readouterr()
    code = main(["-C", str(workspace), *words])
    found = capsys.readouterr()
    return code, found.out + found.err


def leave(workspace: Path, tmp_path: Path) -> None:
    """Remove what a fresh clone on a fresh machine does not have."""
    for folder in (workspace / ".buildsys", workspace / "build", tmp_path / "store"):
        shutil.rmtree(folder, ignore_errors=True)


def build(workspace: Path, tools: StandIn) -> set[str]:
    """Build everything; return the kinds of outcomes."""
    tools.ran.clear()
    session = Session(workspace, tools, no_environment)
    rows = session.build(list(session.plans))
    session.close()
    return {str(row.outcome.kind) for row in rows}


def test_a_clone_restores_what_was_pushed(
    built: None,
    workspace: Path,
    remote: Path,
    tools: StandIn,
    tmp_path: Path,
    capsys: Capture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """With an empty store and no .buildsys, no step runs, packages and lock are unchanged, and only
    files that are read are downloaded; `pull` downloads the rest.
    """
    code, text = say(workspace, capsys, "store", "push")
    assert code == 0
    golden.check("store-push", text, tmp_path)
    code, text = say(workspace, capsys, "store", "push")
    assert (
        code,
        "0 results and 0 files uploaded, 0 bytes; 39 results already there" in text,
    ) == (
        0,
        True,
    )
    before, lock = shipped(workspace), (workspace / "buildsys.lock").read_bytes()
    leave(workspace, tmp_path)
    monkeypatch.setenv("BUILDSYS_REMOTE_MODE", "read")
    assert build(workspace, tools) == {"restored"}
    assert tools.ran == []
    assert (shipped(workspace), (workspace / "buildsys.lock").read_bytes()) == (before, lock)
    blobs = len(list((remote / "blobs").glob("*/*")))
    assert 0 < len(list((tmp_path / "store" / "blobs").glob("*/*"))) < blobs
    code, text = say(workspace, capsys, "store", "pull")
    assert (code, len(list((tmp_path / "store" / "blobs").glob("*/*"))) >= blobs) == (0, True)
    golden.check("store-pull", text, tmp_path)
    code, text = say(workspace, capsys, "store", "push")
    assert code == 1
    golden.check("store-push-read", text, tmp_path)
    for name in ("BUILDSYS_REMOTE", "BUILDSYS_REMOTE_MODE"):
        monkeypatch.delenv(name)
    (workspace / "buildsys.yaml").write_text(f"remote: {{url: 'file://{remote}'}}\n")
    shutil.rmtree(remote / "actions")
    code, text = say(workspace, capsys, "store", "push")
    assert (code, "uploaded" in text, (remote / "actions").is_dir()) == (0, True, True)
    code, text = say(workspace, capsys, "remote", "gc", "--max-age", "90d")
    assert (code, " is only read: BUILDSYS_REMOTE=file://" in text) == (1, True)
    code, text = say(workspace, capsys, "remote", "gc", "--max-age", "90d", "--dry-run")
    assert (code, "file://" in text) == (0, True)


def test_a_mode_in_the_file_is_an_error_that_names_the_variables(
    workspace: Path, capsys: Capture, tmp_path: Path
) -> None:
    """A `mode` in buildsys.yaml is an error that names the variables, since a commit could change
    it.
    """
    file = workspace / "buildsys.yaml"
    file.write_text("remote: {url: s3://team, mode: read-write}\n")
    code, text = say(workspace, capsys, "plan")
    assert code == 2
    checked, found = say(workspace, capsys, "check")
    assert checked == 2
    golden.check("remote-mode", f"{text}---\n{found}", tmp_path)


def test_what_only_a_user_chooses_is_an_error_in_the_file(
    workspace: Path, capsys: Capture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Settings that only a user may choose are errors in the file; each message names the variable."""
    monkeypatch.delenv("BUILDSYS_STORE")
    (tmp_path / "shared").mkdir()
    (tmp_path / "shared").chmod(0o777)
    texts = []
    for text in (
        f"store: {tmp_path}/shared",
        "cluster: {scheduler: 'tcp://127.0.0.1:8786'}",
        "cluster: {scheduler: 'tls://farm:8786', ca: ~/.pyenv/keycert.pem}",
    ):
        (workspace / "buildsys.yaml").write_text(f"{text}\n")
        for command in ("plan", "check"):
            code, found = say(workspace, capsys, command)
            assert code == 2
            texts.append(found)
    golden.check("chosen-by-a-person", "---\n".join(texts), tmp_path)


def test_the_recorded_network_is_found_by_its_digest(
    built: None, workspace: Path, remote: Path, tools: StandIn, tmp_path: Path, capsys: Capture
) -> None:
    """Nothing is trained if the remote has the checkpoint that the lock records."""
    assert say(workspace, capsys, "store", "push")[0] == 0
    leave(workspace, tmp_path)
    for entry in (remote / "actions").glob("*/*"):
        if b'"module":"train_' in entry.read_bytes():
            entry.unlink()
    session = Session(workspace, tools, no_environment)
    trainings = [step for step in session.state.steps.values() if step.trains]
    statuses = {session.state.decide(step).status for step in trainings}
    session.close()
    assert statuses == {Status.UP_TO_DATE}


def test_a_recorded_network_that_is_away_is_not_called_lost(
    built: None,
    workspace: Path,
    remote: Path,
    tools: StandIn,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: Capture,
) -> None:
    """Before it is trained again, `plan` says whether the network did not come or is not there."""
    assert say(workspace, capsys, "store", "push")[0] == 0
    leave(workspace, tmp_path)
    remote.rename(tmp_path / "away")
    monkeypatch.setenv("BUILDSYS_REMOTE_MODE", "read")  # who writes makes a missing folder
    tools.fail = {"train_ultralytics"}
    assert build(workspace, tools) == {"failed", "blocked"}
    url = f"file://{remote}"
    again = "it is trained again"
    _, text = say(workspace, capsys, "plan")
    assert f"the recorded network did not come from {url}: {again}" in text
    monkeypatch.setenv("BUILDSYS_REMOTE", "none")
    _, text = say(workspace, capsys, "plan")
    assert f"the recorded network is not in this store: {again}" in text


def test_what_was_restored_stays_up_to_date_without_the_remote(
    built: None,
    workspace: Path,
    remote: Path,
    tools: StandIn,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: Capture,
) -> None:
    """Switched off or lost: no step runs, although the recorded network was never fetched. If the
    workspace no longer names the remote, `plan` says why its results do not count.
    """
    assert say(workspace, capsys, "store", "push")[0] == 0
    leave(workspace, tmp_path)
    monkeypatch.delenv("BUILDSYS_REMOTE")
    monkeypatch.delenv("BUILDSYS_REMOTE_MODE")
    (workspace / "buildsys.yaml").write_text(f"remote: {{url: 'file://{remote}'}}\n")
    assert (build(workspace, tools), tools.ran) == ({"restored"}, [])
    (training,) = read_lock(workspace / "buildsys.lock").trainings().values()
    assert not Store(tmp_path / "store").has(training.checkpoint, tree=False)
    monkeypatch.setenv("BUILDSYS_REMOTE", "none")
    assert (build(workspace, tools), tools.ran) == ({"up-to-date"}, [])
    monkeypatch.delenv("BUILDSYS_REMOTE")
    remote.rename(tmp_path / "away")
    assert (build(workspace, tools), tools.ran) == ({"up-to-date"}, [])
    (workspace / "buildsys.yaml").write_text("")
    code, text = say(workspace, capsys, "plan")
    assert code == 0
    assert "prepare              its result is of a remote store or key not trusted here" in text


def test_a_remote_is_looked_at_and_cleaned_up(
    built: None, workspace: Path, remote: Path, tmp_path: Path, capsys: Capture
) -> None:
    """`check` finds and removes damage; `gc` deletes old results, not recorded trainings: their
    entries, networks and curves stay.
    """
    assert say(workspace, capsys, "store", "push")[0] == 0
    (remote / "notes.txt").write_text("not ours")
    # a verdict: several files are the smallest, and some are of the trainings, which stay
    blob = min(p for p in (remote / "blobs").glob("*/*") if b'"passed"' in p.read_bytes())
    blob.write_bytes(b"?")
    code, text = say(workspace, capsys, "remote", "check", "--every-byte")
    assert (code, blob.exists()) == (1, False)
    golden.check("remote-check", re.sub(r"\d+ ms", "N ms", text), tmp_path)
    code, text = say(workspace, capsys, "remote", "gc", "--max-age", "90d")
    assert code == 0
    golden.check("remote-gc-young", text, tmp_path)
    (blob.parent / f"{'a' * 64}#1").write_bytes(b"of a transfer that was killed")
    for path in remote.rglob("*"):
        if path.is_file():
            os.utime(path, (0, 0))
    code, text = say(workspace, capsys, "remote", "gc", "--max-age", "90d", "--dry-run")
    golden.check("remote-gc-dry-run", text, tmp_path)
    assert say(workspace, capsys, "remote", "gc", "--max-age", "90d")[0] == 0
    assert list(remote.rglob("*#1")) == []
    trainings = read_lock(workspace / "buildsys.lock").trainings().values()
    assert trainings
    entries = {path.name.partition(".")[0] for path in (remote / "actions").glob("*/*")}
    assert entries == {training.action_key for training in trainings}
    assert {path.name for path in (remote / "blobs").glob("*/*")} == all_blobs(
        [(training.checkpoint, False) for training in trainings]
        + [(training.training, True) for training in trainings],
        Store(tmp_path / "store").index,
    )
    assert (remote / "notes.txt").exists()


def test_files_that_the_remote_has_lost_are_reported_and_uploaded_again(
    built: None, workspace: Path, remote: Path, tmp_path: Path, capsys: Capture
) -> None:
    """Absent files, one that was cut off, and the list of a folder's files."""
    assert say(workspace, capsys, "store", "push")[0] == 0
    blobs = sorted(path for path in (remote / "blobs").glob("*/*") if path.stat().st_size > 50)
    before = {path: path.read_bytes() for path in blobs}
    index = next(path for path in blobs if before[path].startswith(b'[["'))
    first, last = (path for path in (blobs[0], blobs[-1]) if path != index)
    first.unlink()
    index.unlink()
    last.write_bytes(before[last][:20])
    texts = []
    for code in (1, 1):  # the first removes what is damaged
        found, text = say(workspace, capsys, "remote", "check", "--every-byte")
        assert found == code
        texts.append(re.sub(r"\d+ ms", "N ms", text))
    golden.check("remote-check-missing", "\n".join(texts), tmp_path)
    code, text = say(workspace, capsys, "store", "push")
    assert (code, "3 files uploaded" in text) == (0, True), text
    assert {path: path.read_bytes() for path in blobs} == before
    assert say(workspace, capsys, "remote", "check", "--every-byte")[0] == 0
    shutil.rmtree(remote / "blobs")
    code, text = say(workspace, capsys, "remote", "check", "--every-byte")
    assert (code, text.count("    missing: ")) == (1, 11)
    assert re.search(r"(?m)^    missing: \d+ more$", text), text


def test_a_pull_that_was_cut_off_does_not_say_that_nothing_is_there(
    built: None,
    workspace: Path,
    remote: Path,
    tmp_path: Path,
    capsys: Capture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The server has everything, so the advice is to run it again."""
    assert say(workspace, capsys, "store", "push")[0] == 0
    leave(workspace, tmp_path)
    monkeypatch.setenv("BUILDSYS_REMOTE_MODE", "read")
    for cuts, code in ((99, 1), (0, 0)):
        with http_server(remote, cuts=cuts) as url:
            monkeypatch.setenv("BUILDSYS_REMOTE", url)
            found, text = say(workspace, capsys, "store", "pull")
        assert found == code
        assert ("did not send all bytes of" in text) == (code == 1), text
        assert "does not have" not in text


def test_results_in_the_place_of_others_are_counted(
    built: None, workspace: Path, remote: Path, capsys: Capture
) -> None:
    """One valid entry copied over all others leaves a store that no run can use; `check` fails."""
    assert say(workspace, capsys, "store", "push")[0] == 0
    first, *others = sorted((remote / "actions").glob("*/*"))
    for path in others:
        path.write_bytes(first.read_bytes())
    code, text = say(workspace, capsys, "remote", "check", "--every-byte")
    assert (code, f"{len(others)} results ignored by every run" in text) == (1, True)
    assert "0 damaged files" in text


def test_a_web_server_is_only_asked_for_the_mark(
    workspace: Path, tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`check` states that a web server is not listed, and rejects one whose mark is a page."""
    (workspace / "buildsys.yaml").write_text(
        f"remote: {{url: 'file:///nowhere', trusted: ['ed25519:{'A' * 43}=']}}\n"
    )
    folder = tmp_path / "served"
    folder.mkdir()
    with http_server(folder) as url:
        monkeypatch.setenv("BUILDSYS_REMOTE", url)
        (folder / MARK).write_text("<html>log in</html>")
        code, text = say(workspace, capsys, "remote", "check")
        assert (code, text) == (
            1,
            f"{url}: it is not a remote store of buildsys ({MARK} is another file there)\n",
        )
        (folder / MARK).write_bytes(write_mark())
        code, text = say(workspace, capsys, "remote", "check", "--every-byte")
    assert (code, text.splitlines()[1:]) == (
        0,
        ["a web server cannot be listed: results, signatures and files are not checked"],
    )


def test_looking_and_cleaning_up_need_no_signing_key(
    built: None, workspace: Path, remote: Path, capsys: Capture, tmp_path: Path
) -> None:
    """`check` and `gc` sign nothing; `check` states that runs upload nothing without the key, and
    `push` ends with that error.
    """
    trusted = make_key(tmp_path / "key.pem")
    (workspace / "buildsys.yaml").write_text(
        f"remote: {{url: 'file://{remote}', trusted: ['{trusted}']}}\n"
    )
    why = "`remote.trusted` requires signed results, but BUILDSYS_SIGNING_KEY names no key"
    code, text = say(workspace, capsys, "remote", "check", "--every-byte")
    assert (code, f"runs upload nothing from here: {why}" in text) == (0, True)
    assert say(workspace, capsys, "remote", "gc", "--max-age", "90d", "--dry-run")[0] == 0
    assert say(workspace, capsys, "store", "push") == (1, f"{why}\n")


def test_no_variable_lets_a_web_server_be_written(
    built: None, workspace: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`gc` names no variables that would allow uploads, and a mode that cannot be is an error even
    if nothing is to be done.
    """
    monkeypatch.setenv("BUILDSYS_REMOTE", "http://127.0.0.1:9")
    code, text = say(workspace, capsys, "remote", "gc", "--max-age", "90d")
    only = "a remote store at http:// or https:// can only be read"
    assert (code, text) == (1, f"http://127.0.0.1:9: {only}\n")
    code, text = say(workspace, capsys, "remote", "gc", "--max-age", "90d", "--dry-run")
    assert (code, text) == (1, "http://127.0.0.1:9: a web server cannot be listed\n")
    monkeypatch.setenv("BUILDSYS_REMOTE_MODE", "read-write")
    code, text = say(workspace, capsys, "build")
    assert (code, f"{only}\n" in text) == (1, True)


def test_no_file_goes_where_a_result_does_not_say_which_it_needs(
    built: None, workspace: Path, remote: Path, tmp_path: Path, capsys: Capture
) -> None:
    """No file is deleted while some entry cannot be read, since it may need the file."""
    assert say(workspace, capsys, "store", "push")[0] == 0
    blobs = list((remote / "blobs").glob("*/*"))
    for path in blobs:
        os.utime(path, (0, 0))
    unused = remote / "blobs" / "aa" / ("a" * 64)
    unused.parent.mkdir(exist_ok=True)
    unused.write_bytes(b"")
    os.utime(unused, (0, 0))
    index = next(path for path in blobs if path.read_bytes().startswith(b'[["'))
    entry = next(each for each in (remote / "actions").glob("*/*") if '"gate"' in each.read_text())
    for damaged in (index, entry):
        whole = damaged.read_bytes()
        damaged.write_bytes(whole[:-2])
        os.utime(index, (0, 0))
        code, text = say(workspace, capsys, "remote", "gc", "--max-age", "90d")
        assert (code, "files that no result names were kept: " in text) == (0, True)
        assert set((remote / "blobs").glob("*/*")) == {*blobs, unused}
        damaged.write_bytes(whole)
    os.utime(index, (0, 0))
    golden.check("remote-gc-unreadable", re.sub(r"actions/\S+json", "ENTRY", text), tmp_path)
    assert say(workspace, capsys, "remote", "gc", "--max-age", "90d")[0] == 0
    assert set((remote / "blobs").glob("*/*")) == set(blobs)


def test_what_is_known_by_digest_alone_is_not_signed(
    built: None, workspace: Path, remote: Path, tools: StandIn, tmp_path: Path, capsys: Capture
) -> None:
    """Results that a workspace knows only by digest are not signed."""
    session = Session(workspace, tools, no_environment)
    session.build(list(session.plans))
    session.close()
    shutil.rmtree(remote)
    remote.mkdir()
    for entry in (tmp_path / "store" / "actions").glob("*/*"):
        if '"gate"' in entry.read_text():
            entry.unlink()
    code, text = say(workspace, capsys, "store", "push")
    assert (
        code,
        " left out: this machine did not make them, as far as its records show," in text,
    ) == (0, True)
    assert not any('"gate"' in each.read_text() for each in (remote / "actions").glob("*/*"))


def test_a_list_of_files_that_the_remote_has_damaged_is_reported(
    built: None, workspace: Path, remote: Path, tmp_path: Path, capsys: Capture
) -> None:
    """A result that is only in the remote, with a damaged list of its files, counts as lost."""
    assert say(workspace, capsys, "store", "push")[0] == 0
    leave(workspace, tmp_path)
    for blob in (remote / "blobs").glob("*/*"):
        if blob.read_bytes().startswith(b'[["'):
            blob.write_bytes(b"[[")
    target = str(tmp_path / "x.tar")
    code, text = say(workspace, capsys, "store", "export", "*", "-o", target)
    assert (code, "built, but the store has lost it: " in text) == (1, True), text


def test_a_damaged_file_of_this_machine_is_not_uploaded(
    built: None, workspace: Path, remote: Path, tmp_path: Path, capsys: Capture
) -> None:
    """A push with a damaged file ends with a sentence; the next one names the step that lost it."""
    blobs = sorted((tmp_path / "store" / "blobs").glob("*/*"))
    blob = next(path for path in blobs if path.read_bytes()[:2] not in (b"", b"[["))
    blob.chmod(0o644)
    blob.write_bytes(b"?" * blob.stat().st_size)
    code, text = say(workspace, capsys, "store", "push")
    assert (code, blob.name[:12] in text) == (1, True)
    golden.check("store-push-damaged", text, tmp_path)
    assert not list(remote.rglob(blob.name))
    code, text = say(workspace, capsys, "store", "push")
    assert (code, "the store has lost it: " in text) == (0, True)


def test_a_report_leaves_nothing_to_be_put_there(
    built: None,
    workspace: Path,
    remote: Path,
    tools: StandIn,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The report's step is not pushed."""
    session = Session(workspace, tools, no_environment)
    rows = session.build(list(session.plans))
    monkeypatch.setenv("BUILDSYS_REPORT", "pages")
    tools.ran.clear()
    writing.finish_run(session, rows)
    session.close()
    assert tools.ran == ["render_report"]
    assert list((tmp_path / "store").glob("unpushed/*")) == []


@pytest.mark.parametrize("words", [("store", "push"), ("remote", "check"), ("store", "pull")])
def test_without_a_remote_a_sentence_says_how_to_get_one(
    workspace: Path, capsys: Capture, words: tuple[str, ...]
) -> None:
    """Without a remote, the message says how to configure one; the exit code is 1."""
    code, text = say(workspace, capsys, *words)
    assert (code, text.startswith("no remote store is configured: `remote: {url: …}`")) == (1, True)


def test_a_remote_that_a_variable_switches_off_is_named_so(
    workspace: Path, remote: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If a variable switches the remote off, the message names the variable."""
    monkeypatch.setenv("BUILDSYS_REMOTE_MODE", "none")
    code, text = say(workspace, capsys, "remote", "check")
    assert (code, text.startswith("the remote store is disabled: ")) == (1, True)


def test_a_remote_that_does_not_answer_fails_the_command(
    workspace: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A command fails if the remote does not answer; a run continues without it."""
    monkeypatch.setenv("BUILDSYS_REMOTE", f"file://{tmp_path}/nowhere")
    for words in (("remote", "check"), ("store", "pull")):
        code, text = say(workspace, capsys, *words)
        assert (code, text) == (1, f"file://{tmp_path}/nowhere: the folder does not exist\n")


def test_a_key_is_made_and_printed(workspace: Path, tmp_path: Path, capsys: Capture) -> None:
    """`remote key` makes a key and prints the two lines that use it."""
    code, text = say(workspace, capsys, "remote", "keygen", str(tmp_path / "key.pem"))
    public = text.splitlines()[0]
    assert (code, public.startswith("ed25519:")) == (0, True)
    golden.check("remote-keygen", text.replace(public, "PUBLIC"), tmp_path)


def test_without_the_library_a_sentence_says_what_to_install(
    workspace: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the S3 library, the message says what to install: a command fails, a run continues."""
    monkeypatch.setenv("BUILDSYS_REMOTE", "s3://team")
    monkeypatch.setitem(sys.modules, "obstore", None)
    code, text = say(workspace, capsys, "remote", "check")
    assert (code, "`pip install 'buildsys[remote]'`" in text) == (1, True)
