"""Workspaces in temporary folders, and a stand-in for the tools that records what runs."""

import compileall
import hashlib
import json
import os
import re
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from xdist.remote import Producer

from buildsys.execution.places import Workspace
from buildsys.execution.running.process import Command, OnProgress
from buildsys.execution.session.session import Session
from buildsys.execution.state import code_digest, fingerprint, kept_digests
from buildsys.execution.store import workspaces
from buildsys.execution.store.store import Store
from tests.checkpoints import checkpoint_of
from tests.distribution import LONGEST_FIRST, TwoWithTools

REPOSITORY = Path(__file__).resolve().parent.parent

sys.dont_write_bytecode = False  # pytest caches test modules with rewritten assertions (saves 10 s)

RECIPE = """\
name: tags
source:
  family: ultralytics
  task: pose
  architecture: yolov8n-pose
  weights: {path: start.bin, sha256: SHA}
dataset: {format: ultralytics, path: tags/data.yaml}
input: {size: 64}
train: {epochs: 2, batch: 4, seed: 0}
quantization:
  scheme: int8
  granularity: per-tensor
  calibration: {split: train, count: 3, seed: 0}
evaluate:
  gates: {box.mAP50-95: {min: 0.1}}
targets:
  - grove-vision-ai-v2
  - xiao-esp32s3
"""

DATA_YAML = """\
train: images/train
val: images/val
names: {0: tag}
kpt_shape: [4, 3]
flip_idx: [1, 0, 3, 2]
"""


MEMORY = Path("/dev/shm")
"""A folder in memory, if the system has one (Linux)."""
ENOUGH_MEMORY = 2 << 30
"""Required free memory there, in bytes."""
_IN_MEMORY = "BUILDSYS_TEST_MEMORY"
"""The variable with the folder there of this run."""
_FAILED = pytest.StashKey[bool]()


def pytest_configure(config: pytest.Config) -> None:
    """Before pytest-xdist starts its processes, make a store for all of them (tools/places.py), and
    a folder in memory. Files are distributed in the order of collection.
    """
    if not hasattr(config, "workerinput"):
        folder = tempfile.TemporaryDirectory(prefix="buildsys-tests-")
        os.environ["BUILDSYS_TEST_STORE"] = folder.name
        config.add_cleanup(folder.cleanup)
        if MEMORY.is_dir() and shutil.disk_usage(MEMORY).free > ENOUGH_MEMORY:
            in_memory = tempfile.TemporaryDirectory(prefix="buildsys-tests-", dir=MEMORY)
            os.environ[_IN_MEMORY] = in_memory.name
            config.add_cleanup(in_memory.cleanup)
    if hasattr(config.option, "loadscopereorder"):
        config.option.loadscopereorder = False
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        # background processes of a shell ignore Ctrl-C, and so would programs that tests start
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """The suite runs in three processes (distribution.py), tools alone in two; named tests run in
    this one.
    """
    if config.args_source == pytest.Config.ArgsSource.TESTPATHS:
        return 2 if config.option.markexpr == "tools" else 3
    config.option.dist = "no"
    return 0


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> TwoWithTools | None:
    """Distribute whole files as distribution.py does."""
    return TwoWithTools(config, log) if config.option.dist == "loadfile" else None


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Files with tests of tools start first, the longest before others, then those with slow tests,
    so that short files fill the end. A file runs in one process, because its tests share builds.
    """
    if not hasattr(config, "workerinput"):
        return
    turns: dict[Path, int] = {}
    for item in items:
        turns[item.path] = min(_turn(item), turns.get(item.path, sys.maxsize))
    items.sort(key=lambda item: turns[item.path])


def _turn(item: pytest.Item) -> int:
    if item.get_closest_marker("tools") is not None:
        file = item.path.stem
        return LONGEST_FIRST.index(file) if file in LONGEST_FIRST else len(LONGEST_FIRST)
    return len(LONGEST_FIRST) + (1 if item.get_closest_marker("slow") is not None else 2)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """In CI a skipped test counts as failed, except for a missing GPU, Python version or npm."""
    report = yield
    item.stash[_FAILED] = item.stash.get(_FAILED, False) or report.failed
    if os.environ.get("CI") == "true" and report.skipped and not hasattr(report, "wasxfail"):
        reason = str(report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr)
        if not any(words in reason for words in ("GPU", "Python 3.", "npm install")):
            report.outcome = "failed"
            report.longrepr = f"{item.nodeid} must not skip in CI. {reason}"
    return report


@pytest.fixture(autouse=True, scope="session")
def _closed_terminals() -> None:
    """Let processes started by tests react to a closed terminal, even under nohup: children inherit
    ignored signals, but not handlers.
    """
    if signal.getsignal(signal.SIGHUP) == signal.SIG_IGN:
        signal.signal(signal.SIGHUP, lambda number, frame: None)


@pytest.fixture(autouse=True, scope="session")
def _compiled_package() -> None:
    """Compile the package once, so that processes started by tests start in half the time."""
    compileall.compile_dir(REPOSITORY / "buildsys", quiet=2)


@pytest.fixture
def tmp_path(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Path]:
    """A folder for a test: in memory for tests that need no disk, if there is memory. As with
    pytest's own fixture, only the folder of a failed test is kept, if it is on a disk.
    """
    name = re.sub(r"\W", "_", request.node.name)[:30]
    memory = os.environ.get(_IN_MEMORY)
    if memory and not _needs_disk(request):
        path = Path(tempfile.mkdtemp(prefix=f"{name}-", dir=memory))
    else:
        path = tmp_path_factory.mktemp(name)
    yield path
    if not request.node.stash.get(_FAILED, False):
        shutil.rmtree(path, ignore_errors=True)


def _needs_disk(request: pytest.FixtureRequest) -> bool:
    """Return whether a test starts real processes or is about durability."""
    slow = request.node.get_closest_marker("slow")
    if request.node.get_closest_marker("tools") is not None:
        return True
    return slow is not None and bool(slow.kwargs.get("disk", True))


@pytest.fixture(autouse=True)
def _own_store(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Give every test its own store; only tests of real tools use synced environments."""
    monkeypatch.setenv("BUILDSYS_STORE", str(tmp_path / "store"))
    if request.node.get_closest_marker("tools") is None:
        _without_tools(monkeypatch, tmp_path)
        if not _needs_disk(request):  # no real processes run in these tests
            monkeypatch.setenv("BUILDSYS_ISOLATION", "none")
            monkeypatch.setattr("os.fsync", lambda number: None)  # these tests need no durability
            monkeypatch.setattr("buildsys.files.sync_disk", lambda paths: True)


def _without_tools(patch: pytest.MonkeyPatch, root: Path) -> None:
    """Hide this machine's programs and GPU, which the stand-in does not need."""
    patch.setenv("XDG_CACHE_HOME", str(root / "cache"))
    patch.setattr("buildsys.execution.tools.host_tools.find_program", lambda name: name)
    patch.setattr("buildsys.execution.tools.host_facts.MARKS", ())
    patch.setenv("BUILDSYS_REPORT", "text")  # HTML pages need a tool environment


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    """A workspace with a small dataset on disk and one recipe for two targets."""
    return make_workspace(tmp_path / "workspace")


def make_workspace(root: Path) -> Path:
    """Make the recipe `tags`, 6 + 3 "images" with labels, and start weights."""
    (root / "recipes").mkdir(parents=True)
    (root / "start.bin").write_bytes(checkpoint_of("weights"))
    digest = hashlib.sha256(checkpoint_of("weights")).hexdigest()
    (root / "recipes" / "tags.yaml").write_text(RECIPE.replace("SHA", digest))
    for split, count in (("train", 6), ("val", 3)):
        for kind in ("images", "labels"):
            (root / "tags" / kind / split).mkdir(parents=True)
        for index in range(count):
            picture = root / "tags" / "images" / split / f"{index}.jpg"
            picture.write_bytes(f"{split} {index}".encode())
            label = root / "tags" / "labels" / split / f"{index}.txt"
            label.write_text("0 .5 .5 .2 .2" + " .5 .5 2" * 4)
    (root / "tags" / "data.yaml").write_text(DATA_YAML)
    return root


class StandIn:
    """A CommandRunner that makes outputs from a digest of parameters and inputs.

    Equal inputs give equal outputs, as with a deterministic tool; prepared images depend only on
    images, as in reality. `ran` lists the modules that ran; `metric` is the result of evaluations;
    modules in `fail` fail, those in `red` reject. `cpu`: trainings give other bytes on another CPU.
    """

    def __init__(self) -> None:
        self.ran: list[str] = []
        self.metric = 0.5
        self.sram_kib = 100
        self.fail: set[str] = set()
        self.red: set[str] = set()
        self.cpu = ""

    def __call__(self, command: Command, on_progress: OnProgress) -> int:
        module, request_path = command.arguments[-2:]
        request = json.loads(Path(request_path).read_text())
        self.ran.append(module)
        command.log.parent.mkdir(parents=True, exist_ok=True)
        command.log.write_text(f"{module} ran\n")
        if module in self.fail:
            return 3
        outputs = {name: Path(path) for name, path in request["outputs"].items()}
        if module in ("gate", "fit_memory"):
            self._judge(module, request, outputs["verdict"])
            return 0
        text = _digest_request(module, request)
        for name, path in outputs.items():
            content = f"{text}{self.cpu}" if module.startswith("train_") else text
            if path.suffix == ".json":
                content = json.dumps({"of": text})
            if name == "summary":
                content = json.dumps({"sram_bytes": self.sram_kib * 1024, "of": text})
            if name == "arena":
                content = json.dumps({"arena_bytes": self.sram_kib * 1024, "of": text})
            if name in ("verdict", "evidence", "latency"):
                failures = [f"{module} says no"] if module in self.red else []
                told = {"passed": not failures, "failures": failures, "of": text}
                content = json.dumps(told)
            if name == "metrics":
                figures = {"box.mAP50-95": self.metric}
                content = json.dumps({"metrics": figures, "model": {"sha256": text}, "of": text})
            if path.suffix == ".pt":
                path.write_bytes(checkpoint_of(content))
            elif path.suffix:
                path.write_text(content)
            else:
                path.mkdir(exist_ok=True)
                (path / "file").write_text(content)
            if name == "package":
                _pack(request, path, content)
        on_progress(1, 1, "piece", "")
        return 0

    def _judge(self, name: str, request: dict[str, dict[str, str]], verdict: Path) -> None:
        """Run the real step for a verdict, which needs no tool."""
        import importlib

        from buildsys.steps.lib.runtime.launcher import rebuild

        module = importlib.import_module(f"buildsys.steps.{name}")
        inputs = {key: Path(path) for key, path in request["inputs"].items()}
        module.run(inputs, {"verdict": verdict}, rebuild(module.Params, request["params"]))


def _pack(request: dict[str, dict[str, str]], folder: Path, content: str) -> None:
    """Write a model and the given figures like a package."""
    inputs = {name: Path(path) for name, path in request["inputs"].items()}
    (folder / "model.tflite").write_text(content)
    metrics = {
        n.removeprefix("metrics-"): json.loads(p.read_text())
        for n, p in inputs.items()
        if n.startswith("metrics-")
    }
    if metrics:
        (folder / "metrics.json").write_text(json.dumps(metrics, sort_keys=True))
    if "summary" in inputs:
        shutil.copyfile(inputs["summary"], folder / "vela.json")


def _digest_request(module: str, request: dict[str, dict[str, str]]) -> str:
    state = hashlib.sha256(json.dumps([module, request["params"]], sort_keys=True).encode())
    for name, path in sorted(request["inputs"].items()):
        for file in sorted(Path(path).rglob("*")) if Path(path).is_dir() else [Path(path)]:
            if file.is_file() and not (module == "prepare_pictures" and file.suffix == ".txt"):
                state.update(f"{name} {file.name}".encode() + file.read_bytes())
    return state.hexdigest()


def no_environment(name: str, say: Callable[[str], None]) -> tuple[str, Path]:
    """A replacement for `ensure` that syncs nothing."""
    return "none", Path(sys.executable)


Build = Callable[..., list[str]]


@pytest.fixture
def tools() -> StandIn:
    """The stand-in of a test."""
    return StandIn()


@pytest.fixture
def build(workspace: Path, tools: StandIn) -> Build:
    """Build everything in the workspace; returns the modules that ran."""

    def run(*builds: str) -> list[str]:
        tools.ran.clear()
        session = Session(workspace, tools, no_environment)
        session.build(list(builds) or list(session.plans))
        session.close()
        return list(tools.ran)

    return run


@dataclass(frozen=True, kw_only=True)
class Sample:
    """A workspace in which everything was built, with its store, for tests to copy."""

    root: Path
    ran: tuple[str, ...]

    def copy(self, workspace: Path, store: Path) -> None:
        """Copy it into an equal workspace with its own store, as after a build and a move. Caches
        that depend on paths (plans, up-to-date checks) are invalid there.
        """
        copy_built(self.root / "workspace", self.root / "store", workspace, store)


def copy_built(made: Path, its_store: Path, workspace: Path, store: Path) -> None:
    """Copy a built workspace and its store into an equal workspace."""
    shutil.copytree(its_store, store)
    workspaces.forget(Store(store), made)
    workspaces.register(Store(store), workspace)
    by_place = shutil.ignore_patterns("plans", "settled.json", "made-here")
    Workspace(workspace).check_own()  # content copied into a folder that was made here is valid
    shutil.copytree(
        made / ".buildsys", workspace / ".buildsys", ignore=by_place, dirs_exist_ok=True
    )
    shutil.copytree(made / "build", workspace / "build", symlinks=True)
    shutil.copyfile(made / "buildsys.lock", workspace / "buildsys.lock")


def build_sample(root: Path, make: Callable[[Path], Path], tools: StandIn) -> Sample:
    """Build everything in the workspace made by `make`; for fixtures of a session or module."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BUILDSYS_STORE", str(root / "store"))
        _without_tools(patch, root)
        session = Session(make(root / "workspace"), tools, no_environment)
        session.build(list(session.plans))
        session.close()
    return Sample(root=root, ran=tuple(tools.ran))


@pytest.fixture(scope="session")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Sample:
    """The sample workspace, built once per process."""
    return build_sample(tmp_path_factory.mktemp("sample"), make_workspace, StandIn())


@pytest.fixture
def built(sample: Sample, workspace: Path, tools: StandIn, tmp_path: Path) -> None:
    """Put the workspace into the state after `build()`, in a tenth of the time."""
    sample.copy(workspace, tmp_path / "store")
    tools.ran[:] = sample.ran


def forget_code() -> None:
    """Let this process look at our own files again, as a new process does."""
    for found in (kept_digests.known, code_digest.code_digest, fingerprint.package_state):
        found.cache_clear()


def copy_package(target: Path) -> Path:
    """Copy the package, so that a test can edit its files."""
    return Path(
        shutil.copytree(
            REPOSITORY / "buildsys", target, ignore=shutil.ignore_patterns("__pycache__")
        )
    )
