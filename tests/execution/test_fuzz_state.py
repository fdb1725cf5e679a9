"""The fuzzer of what a workspace remembers, for a moment: `benchmarks/fuzz_state.py` is the long form."""

import importlib.util
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY
from tests.repetitions import repetitions

SPEC = importlib.util.spec_from_file_location("fuzz", REPOSITORY / "benchmarks" / "fuzz_state.py")
assert SPEC is not None
assert SPEC.loader is not None
fuzz = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(fuzz)


@pytest.mark.usefixtures("built")
def test_damage_is_told_and_ships_nothing_wrong(
    workspace: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fields of the lock, pages of the database, bits and ends of files below .buildsys, packages."""
    monkeypatch.setenv("BUILDSYS_REPORT", "none")
    fuzzer = fuzz.Fuzzer(1, tmp_path, workspace)
    for kind in fuzz.KINDS:
        for number in range(repetitions(1 if kind.startswith("package") else 3)):
            what, problem = fuzzer.case(kind, number, modes=("unsettled",))
            assert not problem, f"{kind} {number}: {what}: {problem}"
