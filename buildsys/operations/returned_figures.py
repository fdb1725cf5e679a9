"""Latency that came back with an engine: as `buildsys import-benchmark` takes it, before the engine is
packaged.
"""

from buildsys.digest import digest_file
from buildsys.execution.packages import measurements
from buildsys.execution.packages.measurements import Measurement
from buildsys.execution.places import Workspace
from buildsys.operations.benchmarks import read_benchmark
from buildsys.operations.bundle import RemoteBuild
from buildsys.operations.engine_figures import read_loads
from buildsys.operations.import_bundle import Result
from buildsys.operations.published import Published
from buildsys.report import stamp


def read_figures(result: Result, away: RemoteBuild, device: str) -> tuple[Measurement, ...]:
    """Of benchmark.json, where it is there. Raises InputError."""
    if result.benchmark is None:
        return ()
    engine = result.folder / "model.engine"
    name = f"{away.build.id.split('@')[0]}.engine"
    params = away.params
    told = {
        "version_compatible": params.version_compatible,
        "batch": params.batch,
        "hardware_compatibility": params.hardware_compatibility,
        **result.facts,
    }
    published = Published(
        build=away.build.id,
        name=name,
        bytes=engine.stat().st_size,
        sha256=digest_file(engine),
        format="engine",
        loads=read_loads(told),
    )
    named = device or result.facts["gpu"] or result.facts["system"]
    return read_benchmark(str(result.benchmark), named, published).measurements


def keep_figures(workspace: Workspace, away: RemoteBuild, figures: tuple[Measurement, ...]) -> None:
    """Into measurements/ID.json."""
    if figures:
        measurements.record(workspace, away.build.id, figures)
        stamp.forget(workspace)
