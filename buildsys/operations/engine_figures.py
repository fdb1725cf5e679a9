"""Whether a benchmark can have run an engine: the library, version, GPU and batch that it is for.

What `runtime.py` of its package refuses to load (templates/engine) gave no figure either.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from buildsys.errors import Diagnostic, InputError
from buildsys.steps.lib.tensorrt.host_library import TITLES

TENSORRT = "tensorrt"
_AMPERE = (8, 0)
_RUN = "run the benchmark.py that lies beside the engine, where the engine is loaded"


@dataclass(frozen=True, kw_only=True)
class Loads:
    """What loads an engine. `newer`: newer versions, too; `capability`: empty for any from 8.0 on;
    `batch`: (least, most) pictures.
    """

    library: str
    version: str
    newer: bool
    capability: str
    batch: tuple[int, int]


def read_loads(facts: Mapping[str, Any]) -> Loads | None:
    """Of engine.json; None where it is none."""
    try:
        least, _, most = map(int, facts["batch"])
        everywhere = facts["hardware_compatibility"] == "ampere-plus"
        return Loads(
            library=str(facts["library"]),
            version=str(facts["version"]),
            newer=bool(facts["version_compatible"]),
            batch=(least, most),
            capability="" if everywhere else str(facts["compute_capability"]),
        )
    except (KeyError, TypeError, ValueError):
        return None


def check_engine(path: str, told: Mapping[str, Any], build: str, loads: Loads) -> None:
    """`told`: as benchmark.py of a package writes it. Raises InputError."""
    library, version = str(told.get("engine")), str(told.get("version"))
    capability, batch = str(told.get("compute_capability")), int(told["batch"])
    ours, (least, most) = TITLES.get(loads.library, loads.library), loads.batch
    if library != loads.library:
        found = TITLES.get(library, library)
        raise _wrong(path, f"was measured with {found}; the engine of {build} is one of {ours}")
    newer = loads.newer and _numbers(version) >= _numbers(loads.version)
    if version != loads.version and not newer:
        message = f"was measured with {ours} {version}; the engine of {build} is of {loads.version}"
        raise _wrong(path, message)
    fits = capability == loads.capability if loads.capability else _numbers(capability) >= _AMPERE
    if not fits:
        wanted = loads.capability or "8.0 or later"
        message = (
            f"was measured on a GPU of compute capability {capability}; the engine of {build} is"
            f" for {wanted}"
        )
        raise _wrong(path, message)
    if not least <= batch <= most:
        takes = f"{least}" if least == most else f"{least} to {most}"
        raise _wrong(path, f"`batch` is {batch}; the engine of {build} takes {takes}")


def check_trtexec(path: str, build: str, name: str, kind: str, loads: Loads | None) -> None:
    """trtexec runs TensorRT's engines; of an ONNX file it makes one that nobody ships.

    `name`, `kind`: the file that the build ships, and its format. Raises InputError.
    """
    if kind != "engine":
        message, hint = f"{build} ships {name}", "name the build whose engine it ran"
    elif loads is not None and loads.library != TENSORRT:
        message = f"{build} ships one of {TITLES.get(loads.library, loads.library)}"
        hint = "benchmark.py of the package times it"
    else:
        return
    raise _wrong(path, f"trtexec times engines of TensorRT; {message}", hint)


def _numbers(version: str) -> tuple[int, ...]:
    """ "10.3.0" -> (10, 3, 0); empty for what is no version."""
    parts = version.split(".")
    return tuple(map(int, parts)) if all(part.isdecimal() for part in parts) else ()


def _wrong(path: str, message: str, hint: str = _RUN) -> InputError:
    return InputError(Diagnostic(path=path, message=message, hint=hint))
