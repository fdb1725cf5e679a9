"""A team's work with buildsys.lock: real runs, real git, machines with other training results."""

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests import processes

IDENTITY = {
    f"GIT_{role}_{what}": text
    for role in ("AUTHOR", "COMMITTER")
    for what, text in (("NAME", "team"), ("EMAIL", "team@example.com"))
}
BUILD = "tags@xiao-esp32s3"


@dataclass(frozen=True, kw_only=True)
class Ended:
    """A command's exit code and output."""

    code: int
    text: str


@dataclass(frozen=True, kw_only=True)
class Machine:
    """One machine: a clone, a store and tool environments."""

    root: Path

    @property
    def place(self) -> Path:
        """The clone."""
        return self.root / "place"

    def run(self, *words: str, **variables: str) -> Ended:
        """Run a command in the clone; its output is part of the test's output."""
        environment = processes.environment(self.root) | IDENTITY | variables
        done = subprocess.run(
            words,
            cwd=self.place,
            env={**environment, "GIT_CONFIG_GLOBAL": os.devnull, "BUILDSYS_REPORT": "text"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=120,
            check=False,
        )
        shown = " ".join(words).replace(f"{sys.executable} -m ", "")
        settings = "".join(f"{name}={value} " for name, value in variables.items())
        print(f"{self.root.name}$ {settings}{shown}\n{done.stdout}[{done.returncode}]")
        return Ended(code=done.returncode, text=done.stdout)

    def buildsys(self, *words: str, **variables: str) -> Ended:
        """Run a buildsys command."""
        return self.run(sys.executable, "-m", "buildsys", *words, **variables)

    def git(self, *words: str) -> str:
        """Run a git command that must succeed, and return its output."""
        done = self.run("git", *words)
        assert done.code == 0, done.text
        return done.text

    @property
    def changes(self) -> str:
        """The output of `git status`."""
        return self.git("status", "--porcelain")

    @property
    def status(self) -> str:
        """The build's status in the last summary."""
        return processes.statuses(self.place)[BUILD]

    @property
    def lock(self) -> Path:
        """The path of buildsys.lock."""
        return self.place / "buildsys.lock"


def clone(root: Path, name: str, of: Machine) -> Machine:
    """A machine with a clone, whose CPU gives other training results."""
    machine = Machine(root=root / name)
    machine.root.mkdir()
    processes.make_environments(machine.root)
    processes.set_tool(machine.root, seconds=0.01, cpu=name)
    environment = {**os.environ, "GIT_CONFIG_GLOBAL": os.devnull}
    command = ["git", "clone", "-q", str(of.place), str(machine.place)]
    subprocess.run(command, env=environment, check=True)
    return machine


@pytest.fixture
def anna(tmp_path: Path) -> Machine:
    """The first machine, which committed the recipe and the data."""
    root = tmp_path / "anna"
    root.mkdir()
    place = processes.make_place(root, seconds=0.01)
    (place / "recipes" / "plain.yaml").unlink()
    (place / ".gitignore").write_text("build/\n.buildsys/\n")
    machine = Machine(root=root)
    machine.git("init", "-q", "-b", "main")
    machine.git("add", ".")
    machine.git("commit", "-q", "-m", "a recipe and its data")
    return machine


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("git") is None, reason="there is no git")
def test_a_day_of_a_team(tmp_path: Path, anna: Machine) -> None:
    """One machine trains and commits the lock; no other run rewrites it, and differences are
    reported.
    """
    train_and_commit(anna)
    ben = clone(tmp_path, "ben", anna)  # another CPU, an empty store
    train_another_network(ben)
    server = clone(tmp_path, "server", anna)
    train_another_network_where_the_lock_counts(server)
    commit_another_network(server)
    restore_the_recorded_network(server, anna)
    change_the_recipe_where_the_lock_counts(server)
    number = pull_another_network(ben)
    keep_one_of_two_networks(ben, number)


def train_and_commit(anna: Machine) -> None:
    """Train; commit the lock, and export the results to a file."""
    assert anna.buildsys("build").code == 0
    assert anna.status == "built"
    anna.git("add", "buildsys.lock")
    anna.git("commit", "-q", "-m", "the lock")
    assert anna.buildsys("store", "export", BUILD, "-o", "../results.tar").code == 0
    assert anna.changes == ""


def train_another_network(ben: Machine) -> None:
    """Without the exported results the training gives other bytes: each command reports it, none
    changes the lock.
    """
    built = ben.buildsys("build")
    assert (built.code, ben.status, ben.changes) == (0, "built, differs from lock", "")
    assert "training of tags: buildsys.lock records the network" in built.text
    again = ben.buildsys("build")
    assert (again.code, ben.status) == (0, "up-to-date, differs from lock")
    assert "records these results" in again.text
    verified = ben.buildsys("verify", BUILD)
    assert verified.code == 0
    assert "training of tags: buildsys.lock records the network" in verified.text


def train_another_network_where_the_lock_counts(server: Machine) -> None:
    """`--locked` fails; the second time before any step runs."""
    trained = server.buildsys("build", "--locked")
    assert (trained.code, server.changes) == (12, "")
    assert server.status == "built, differs from lock"
    known = server.buildsys("build", "--locked", "--format", "github")  # before anything runs
    assert known.code == 12
    assert "::error file=buildsys.lock::these builds need another buildsys.lock" in known.text


def commit_another_network(server: Machine) -> None:
    """`update` records this machine's result in the lock, on a branch."""
    server.git("switch", "-q", "-c", "of-the-server")
    taken = server.buildsys("update", "tags")
    assert taken.code == 0
    assert "the network " in taken.text
    server.git("commit", "-q", "-a", "-m", "the network of the server")
    assert server.buildsys("build", "--locked").code == 0


def restore_the_recorded_network(server: Machine, anna: Machine) -> None:
    """With the imported results the packages have the same bytes."""
    server.git("switch", "-q", "main")
    assert server.buildsys("store", "import", "../../anna/results.tar").code == 0
    assert server.buildsys("build", "--locked").code == 0
    assert server.status == "restored"
    assert processes.shipped(server.place) == processes.shipped(anna.place)
    assert server.buildsys("build", BUILDSYS_LOCKED="1").code == 0
    assert server.status == "up-to-date"
    assert server.changes == ""


def change_the_recipe_where_the_lock_counts(server: Machine) -> None:
    """With `--locked`, a training that the lock does not record does not start."""
    recipe = server.place / "recipes" / "tags.yaml"
    recipe.write_text(recipe.read_text().replace("epochs: 2", "epochs: 3"))
    refused = server.run(sys.executable, "-m", "doit", BUILDSYS_LOCKED="1")
    assert refused.code == 12
    assert "it has no line `training tags " in refused.text
    assert "done in" not in refused.text
    server.git("checkout", "-q", "--", "recipes")


def pull_another_network(ben: Machine) -> int:
    """After a merge conflict in the lock, `check` reports the conflict markers at the line that is
    returned, with what to do.
    """
    assert ben.buildsys("update").code == 0
    ben.git("commit", "-q", "-a", "-m", "the network of ben")
    assert ben.run("git", "pull", "-q", "--no-rebase", "../../server/place", "of-the-server").code
    number = [line[:7] for line in ben.lock.read_text().split("\n")].index("<<<<<<<") + 1
    found = ben.buildsys("check")
    assert found.code == 2
    place = f"buildsys.lock:{number}:1: error: unfinished merge: lines {number} to"
    assert place in found.text
    marks = f"delete lines {number}, {number + 2} and {number + 4}"
    assert f"{marks}; of `training tags " in found.text
    assert f"keep line {number + 1} or line {number + 3}" in found.text
    return number


def keep_one_of_two_networks(ben: Machine, number: int) -> None:
    """Keeping both lines is an error; with one of them the lock is valid again."""
    lines = ben.lock.read_text().split("\n")
    both = [line for line in lines if line[:7] not in ("<<<<<<<", "=======", ">>>>>>>")]
    ben.lock.write_text("\n".join(both))
    twice = ben.buildsys("check")
    assert twice.code == 2
    assert f"buildsys.lock:{number + 1}:1: error: duplicate key `training tags " in twice.text
    del both[number]  # the server's
    ben.lock.write_text("\n".join(both))
    ben.git("commit", "-q", "-a", "-m", "both")
    assert ben.buildsys("build", "--locked").code == 0
    assert ben.status in ("restored", "up-to-date")
    assert ben.changes == ""
