"""The program that builds engines, as a child of a step, in the step's folder."""

from pathlib import Path
from typing import Any

from buildsys.steps._progress import fail


def programs() -> dict[str, Path]:
    """The program's files, under the names by which they find each other; bundles ship the same."""
    from buildsys.steps import _engine_host, _engine_program, _engine_weak

    return {
        "engine_builder.py": Path(_engine_program.__file__),
        "engine_host.py": Path(_engine_host.__file__),
        "engine_weak.py": Path(_engine_weak.__file__),
    }


def run_builder(python: str, request: dict[str, Any]) -> None:
    """Build, or end the step with the program's sentence. `python`: the one that has the library."""
    import json
    import shutil

    from buildsys.steps import _engine_host

    for name, program in programs().items():
        shutil.copyfile(program, name)
    Path("engine.json").write_text(json.dumps(request), encoding="utf-8")
    code = _engine_host.run_apart(python, "engine_builder.py", "engine.json")
    title = f"{_engine_host.TITLES[request['library']]} {request['version']}"
    refused = Path(request["error"])
    if code in (3, 4) and refused.is_file():
        fail(f"{title}: {refused.read_text(encoding='utf-8')}.")
    if code:
        fail(f"the builder of {title} ended with exit code {code}.")
