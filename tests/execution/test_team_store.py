"""CI with a team's store as in docs/how-to/team-store.md: real git, real runs, a real server."""

import shutil
from pathlib import Path

import pytest

from tests.execution.test_team import BUILD, Machine, anna, clone
from tests.object_servers import BUCKET, S3Server, s3_server
from tests.processes import shipped

__all__ = ["anna", "s3_server"]


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("git") is None, reason="there is no git")
def test_pull_requests_read_and_the_main_branch_writes(
    tmp_path: Path, anna: Machine, s3_server: S3Server
) -> None:
    """A trained network is shared by the lock and the store; CI restores it; pull requests write
    nothing.
    """
    reads = {
        "BUILDSYS_REMOTE": f"s3://{BUCKET}/team",
        "AWS_ENDPOINT_URL": s3_server.endpoint,
        "BUILDSYS_REMOTE_MODE": "read",
    }
    writes = reads | {"BUILDSYS_REMOTE_MODE": "read-write"}
    assert anna.buildsys("build", **writes).code == 0
    anna.git("add", "buildsys.lock")
    anna.git("commit", "-q", "-m", "a network")
    before, asked = shipped(anna.place), s3_server.writes()

    proposal = clone(tmp_path, "proposal", anna)
    done = proposal.buildsys("build", "--locked", "--strict", "--format", "github", **reads)
    assert (done.code, proposal.status, proposal.changes) == (0, "restored", "")
    assert "steps to run" not in done.text
    assert shipped(proposal.place) == before

    recipe = proposal.place / "recipes" / "tags.yaml"
    text = recipe.read_text()
    recipe.write_text(text.replace("min: 0.1", "min: 0.05"))
    done = proposal.buildsys("build", "--locked", **reads)
    assert (done.code, proposal.status) == (0, "built")
    assert "training" not in done.text
    recipe.write_text(text.replace("epochs: 2", "epochs: 3"))
    assert proposal.buildsys("build", "--locked", **reads).code == 12
    assert s3_server.writes() == asked

    main = clone(tmp_path, "main", anna)
    recipe = main.place / "recipes" / "tags.yaml"
    recipe.write_text(text.replace("min: 0.1", "min: 0.05"))
    assert main.buildsys("build", "--locked", "--strict", **writes).code == 0
    assert s3_server.writes() > asked
    later = clone(tmp_path, "later", anna)
    shutil.copyfile(recipe, later.place / "recipes" / "tags.yaml")
    assert later.buildsys("build", BUILD, "--locked", **reads).code == 0
    assert later.status == "restored"

    s3_server.kill()
    away = clone(tmp_path, "away", anna)
    shutil.rmtree(away.place / "tags")
    note = (
        f"s3://{BUCKET}/team could not be read completely: it may have what these builds wait for"
    )
    done = away.buildsys("build", **reads)
    assert (done.code, away.status) == (0, "waiting for tags/data.yaml")
    assert note in done.text
    assert note in away.buildsys("plan", **reads).text
