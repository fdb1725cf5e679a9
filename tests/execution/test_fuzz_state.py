"""The fuzzer of what a workspace remembers, for a moment: `benchmarks/fuzz_state.py` is the long form."""

from pathlib import Path

import pytest

from benchmarks import fuzz_state as fuzz
from tests.repetitions import repetitions


@pytest.mark.usefixtures("built")
def test_damage_is_reported_and_ships_nothing_wrong(
    workspace: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fields of the lock, pages of the database, bits and ends of files below .buildsys, packages."""
    monkeypatch.setenv("BUILDSYS_REPORT", "none")
    fuzzer = fuzz.Fuzzer(1, tmp_path, workspace)
    for kind in fuzz.KINDS:
        for number in range(repetitions(1 if kind.startswith("package") else 3)):
            what, problem = fuzzer.case(kind, number, modes=("unsettled",))
            assert not problem, f"{kind} {number}: {what}: {problem}\n{fuzzer.said}"
