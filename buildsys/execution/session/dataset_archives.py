"""Datasets that come as archives: fetched once, unpacked once, before anything is planned with them."""

from pathlib import Path

from buildsys.execution.places import datasets_root
from buildsys.execution.running.process import CommandRunner, run_command
from buildsys.execution.session.session import Session
from buildsys.execution.state.plans import Plans, plan_beside
from buildsys.execution.store.archives import unpack
from buildsys.graph import Archive
from buildsys.planning.plan_builder import make_step
from buildsys.registry import read_step
from buildsys.steps import fetch_file


def fetch_archive(root: Path, archive: Archive, run: CommandRunner = run_command) -> None:
    """Into the store, checked; then unpacked into the user's cache. Raises BuildsysError."""
    url, sha256 = archive.url, archive.sha256
    target = datasets_root() / sha256
    if target.is_dir():
        return
    params = fetch_file.Params(url=url, sha256=sha256)
    step = make_step("fetch", read_step(fetch_file), params, {}, {"archive": False})
    plan = plan_beside(url.rsplit("/", 1)[-1], url, (step,))
    session = Session(root, run, plans=Plans.of([plan]))
    try:
        (step,) = plan.steps
        session.state.want_bytes(step.id)
        session.executor.run_step(step)
        session.console.say(f"unpacking {url} into {target}")
        try:
            unpack(session.state.store.blob(sha256), target, url)
        except FileExistsError:
            return  # another run was faster
    finally:
        session.close()
