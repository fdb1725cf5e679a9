"""The bytecode of a tool environment is compiled once for all clones."""

from pathlib import Path

import pytest

from buildsys.execution.tools import bytecode


@pytest.mark.slow
def test_a_second_clone_compiles_its_own_steps_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A second clone compiles only its own steps; a new environment compiles everything again."""
    python, log = tmp_path / "bin" / "python", tmp_path / "log"
    python.parent.mkdir()
    said: list[str] = []

    def compiled(clone: str) -> list[list[str]]:
        """(clone of the steps, tool, imported modules) of every program that ran."""
        monkeypatch.setattr(bytecode, "PACKAGE", Path(clone))
        bytecode._prepared.clear()
        log.write_text("")
        bytecode.prepare(python, "vela", "ethos-u-vela", said.append)
        return [line.split()[2:] for line in log.read_text().splitlines()]

    def make() -> None:
        python.unlink(missing_ok=True)
        python.write_text(f'#!/bin/sh\necho "$@" >>{log}\n')
        python.chmod(0o755)

    make()
    bytecode.imported_names()  # caches the names of this clone's modules
    bytecode.state_of(python)
    ((clone, tool, *names),) = compiled("/one")
    assert (clone, tool) == ("/one", "ethos-u-vela")
    assert "numpy" in names
    assert compiled("/one") == []
    assert compiled("/two") == [["/two", "ethos-u-vela"]]
    assert compiled("/two") == []
    assert len(said) == 1
    make()
    ((*_, last),) = compiled("/two")
    assert last == names[-1]
    bytecode._prepared.clear()
