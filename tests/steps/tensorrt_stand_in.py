"""Stands in for the Python package `tensorrt`: notes what it is asked for, and builds nothing.

Its names are those of TensorRT's Python API 8.6, 10 and 11; what each lacks is left out.
"""

from types import ModuleType, SimpleNamespace
from typing import Any

_PRECISIONS = ("FP16", "INT8")
_LEVELS = ("NONE", "AMPERE_PLUS", "SAME_COMPUTE_CAPABILITY")
_CACHE = b"timings of "


class Tensor:
    """An input or an output of the network."""

    def __init__(self, name: str, shape: tuple[int, ...]) -> None:
        self.name, self.shape, self.dtype = name, shape, "DataType.FLOAT"


class Cache:
    """Of timings: what it was made from, and one entry more."""

    def __init__(self, data: bytes) -> None:
        self.data = data

    def serialize(self) -> bytes:
        """As it is kept."""
        return (self.data or _CACHE + b"this GPU:") + b" one more"


class Config:
    """IBuilderConfig."""

    def __init__(self, asked: SimpleNamespace) -> None:
        self.asked = asked

    def __setattr__(self, name: str, value: Any) -> None:
        super().__setattr__(name, value)
        if name != "asked":
            self.asked.settings[name] = value

    def clear_flag(self, flag: str) -> None:
        """One of BuilderFlag."""
        self.asked.cleared.append(flag)

    def set_flag(self, flag: str) -> None:
        """One of BuilderFlag."""
        self.asked.flags.append(flag)

    def set_memory_pool_limit(self, pool: str, count: int) -> None:
        """Bytes."""
        self.asked.settings[pool] = count

    def add_optimization_profile(self, profile: Any) -> int:
        """Its number."""
        self.asked.profiles.append(profile.shapes)
        return len(self.asked.profiles) - 1

    def set_calibration_profile(self, profile: Any) -> bool:
        """Gone in 11."""
        self.asked.settings["calibration_profile"] = profile.shapes
        return True

    def create_timing_cache(self, data: bytes) -> Cache:
        """From what was kept, or a new one."""
        return Cache(data)

    def set_timing_cache(self, cache: Cache, ignore_mismatch: bool) -> bool:
        """False for one of elsewhere."""
        return not ignore_mismatch and (not cache.data or cache.data.startswith(_CACHE))


class Profile:
    """IOptimizationProfile."""

    def __init__(self) -> None:
        self.shapes: dict[str, list[tuple[int, ...]]] = {}

    def set_shape(self, name: str, least: Any, usual: Any, most: Any) -> None:
        """Of one input."""
        self.shapes[name] = [tuple(least), tuple(usual), tuple(most)]


def make(version: str, shape: tuple[int, ...] = (1, 3, 32, 32)) -> tuple[ModuleType, Any]:
    """The package, and what was asked of it. `shape`: the network's input."""
    major = int(version.split(".", maxsplit=1)[0])
    asked = SimpleNamespace(cleared=[], flags=[], profiles=[], settings={}, network=0)
    network = SimpleNamespace(
        num_inputs=1,
        num_outputs=1,
        get_input=lambda _: Tensor("images", shape),
        get_output=lambda _: Tensor("box", (shape[0], 64)),
    )

    def create_network(flags: int) -> Any:
        asked.network = flags
        return network

    builder = SimpleNamespace(
        create_network=create_network,
        create_builder_config=lambda: Config(asked),
        create_optimization_profile=Profile,
        build_serialized_network=lambda net, config: b"an engine",
    )
    parser = SimpleNamespace(parse=lambda data: True)
    trt: Any = ModuleType("tensorrt")
    names = ("TF32", "VERSION_COMPATIBLE", *(_PRECISIONS if major < 11 else ()))
    trt.BuilderFlag = SimpleNamespace(**{name: name for name in names})
    creation = {"EXPLICIT_BATCH": 0} | ({"STRONGLY_TYPED": 1} if major >= 10 else {})
    trt.NetworkDefinitionCreationFlag = SimpleNamespace(**creation)
    trt.HardwareCompatibilityLevel = SimpleNamespace(**{name: name for name in _LEVELS})
    trt.MemoryPoolType = SimpleNamespace(WORKSPACE="workspace")
    trt.IInt8EntropyCalibrator2 = object
    trt.ILogger = type("ILogger", (), {})
    trt.Builder, trt.OnnxParser = lambda logger: builder, lambda net, logger: parser
    trt.__version__ = version
    return trt, asked
