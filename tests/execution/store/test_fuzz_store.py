"""A short run of the fuzzer of stores and archives; `benchmarks/fuzz_store.py` is the long form."""

import random
from pathlib import Path

import pytest

from benchmarks import fuzz_store as fuzz
from tests.repetitions import repetitions

COUNTS = {"flips": 1, "cuts": 1, "indexes": 1, "places": 1, "archives": 1, "datasets": 30}


def test_what_is_damaged_or_crafted_ships_nothing_wrong_and_touches_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Damaged or crafted store files, indexes, links and archives publish nothing wrong and touch
    nothing outside.
    """
    for name in ("BUILDSYS_STORE", "XDG_CACHE_HOME", "BUILDSYS_REPORT"):
        monkeypatch.setenv(name, "")
    fuzzer = fuzz.Fuzzer(1, tmp_path)
    modules = [entry.module for entry in fuzzer.entries.values()]
    assert modules == sorted(modules), "a case is another when keys change"
    for kind, count in COUNTS.items():
        for number in range(repetitions(count)):
            what, problem = fuzzer.case(kind, number)
            assert not problem, f"{kind} {number}: {what}: {problem}\n{fuzzer.said}"
    for action in (*fuzz.OF_MEMBERS, *fuzz.OF_BYTES):
        assert fuzzer.craft(action, random.Random(1)) != fuzzer.exported, action
