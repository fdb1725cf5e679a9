"""A short run of the fuzzer of a workspace's state; `benchmarks/fuzz_state.py` is the long form."""

from pathlib import Path

import pytest

from benchmarks import fuzz_state as fuzz
from tests.repetitions import repetitions


@pytest.mark.usefixtures("built")
def test_damage_is_reported_and_ships_nothing_wrong(
    workspace: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Damage to the lock, the database, files below .buildsys and packages is reported; no wrong
    file is published.
    """
    monkeypatch.setenv("BUILDSYS_REPORT", "none")
    fuzzer = fuzz.Fuzzer(1, tmp_path, workspace)
    for kind in fuzz.KINDS:
        for number in range(repetitions(1 if kind.startswith("package") else 3)):
            what, problem = fuzzer.case(kind, number, modes=("unsettled",))
            assert not problem, f"{kind} {number}: {what}: {problem}\n{fuzzer.said}"
