"""Run the program that builds engines, as a child of a step, in the step's folder."""

from pathlib import Path
from typing import Any

from buildsys.steps.lib.runtime.progress import fail


def programs() -> dict[str, Path]:
    """Return the program's files, by their names in bundles."""
    from buildsys.steps.lib.tensorrt import engine_calibration, engine_program, engine_weakly_typed

    modules = (engine_calibration, engine_program, engine_weakly_typed)
    paths = [Path(str(module.__file__)) for module in modules]
    return {path.name: path for path in paths}


def run_builder(python: str, request: dict[str, Any]) -> None:
    """Build, or end the step with the program's message. `python`: the interpreter that has the
    library.
    """
    import json

    from buildsys.steps.lib.tensorrt import engine_program, separate_process

    Path("engine.json").write_text(json.dumps(request), encoding="utf-8")
    code = separate_process.run_apart(python, str(programs()["engine_program.py"]), "engine.json")
    title = f"{engine_program.TITLES[request['library']]} {request['version']}"
    refused = Path(request["error"])
    if code in (3, 4) and refused.is_file():
        reason = refused.read_text(encoding="utf-8")
        fail(f"{reason}." if reason.startswith(title) else f"{title}: {reason}.")
    if code:
        fail(f"{title}: {separate_process.describe_end(code)}.")
