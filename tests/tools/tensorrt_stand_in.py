"""A stand-in for TensorRT below NVIDIA's Python bindings, and for CUDA below ctypes.

Names, signatures and conversions are the bindings'; tensorrt_stand_in.c, which they load in the place of
TensorRT's libraries, asks `Machine` for every answer. Its network has one input, `images`, and one output,
`twice`; its engine doubles the input on "the GPU", which is this process' memory. Which function of the
C++ interface has which number differs from version to version: `learn` finds out, call by call.
"""

import atexit
import ctypes
import gc
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

WORD = ctypes.c_uint64
PLAN = b"an engine of the stand-in"
CACHE = b"scales"
_ANSWER = ctypes.CFUNCTYPE(WORD, *[WORD] * 7)
_EXPORTED = 1000
FUNCTIONS = (
    "createInferBuilder_INTERNAL",
    "createInferRuntime_INTERNAL",
    "createNvOnnxParser_INTERNAL",
    "cudaGetDeviceCount",
    "cudaDeviceGetAttribute",
    "cudaMalloc",
    "cudaFree",
    "cudaMemcpyAsync",
    "cudaStreamCreate",
    "cudaStreamSynchronize",
    "cudaEventCreate",
    "cudaEventRecord",
    "cudaEventElapsedTime",
    "cudaGetErrorString",
    "cuInit",
    "cuDeviceGet",
    "cuDeviceGetName",
    "cuDeviceGetAttribute",
)
"""The numbers in tensorrt_stand_in.c."""
_ERROR, _WARNING = 1, 2
"""Severities of ILogger."""
_VERSIONED = 4
"""How many functions an interface has that says its version: calibrators from 10 on, loggers from 11."""


@dataclass(frozen=True, kw_only=True)
class Call:
    """One call of the bindings: `kind` of object, `name`, how to make it, and its result."""

    kind: str
    name: str
    make: Callable[[Any, dict[str, Any]], Any]
    gives: str = ""


def _calls() -> tuple[Call, ...]:
    """All calls of our programs, ordered so that each has the objects that it needs."""

    def call(path: str, make: Callable[[Any, dict[str, Any]], Any], gives: str = "") -> Call:
        kind, name = path.split(".")
        return Call(kind=kind, name=name, make=make, gives=gives)

    shape = (1, 3, 2, 2)
    return (
        call("Builder.create_network", lambda t, o: o["Builder"].create_network(0), "Network"),
        call(
            "Builder.create_builder_config",
            lambda t, o: o["Builder"].create_builder_config(),
            "Config",
        ),
        call(
            "Builder.create_optimization_profile",
            lambda t, o: o["Builder"].create_optimization_profile(),
            "Profile",
        ),
        call("Parser.parse", lambda t, o: o["Parser"].parse(b"onnx")),
        call("Parser.num_errors", lambda t, o: o["Parser"].num_errors),
        call("Parser.get_error", lambda t, o: o["Parser"].get_error(0), "ParserError"),
        call("ParserError.desc", lambda t, o: o["ParserError"].desc()),
        call("ParserError.node_name", lambda t, o: o["ParserError"].node_name()),
        call("ParserError.node_operator", lambda t, o: o["ParserError"].node_operator()),
        call("Network.num_inputs", lambda t, o: o["Network"].num_inputs),
        call("Network.num_outputs", lambda t, o: o["Network"].num_outputs),
        call("Network.get_input", lambda t, o: o["Network"].get_input(0), "Tensor"),
        call("Network.get_output", lambda t, o: o["Network"].get_output(0), "Tensor"),
        call("Tensor.name", lambda t, o: o["Tensor"].name),
        call("Tensor.shape", lambda t, o: o["Tensor"].shape),
        call("Tensor.dtype", lambda t, o: o["Tensor"].dtype),
        call("Config.clear_flag", lambda t, o: o["Config"].clear_flag(t.BuilderFlag.TF32)),
        call(
            "Config.set_flag", lambda t, o: o["Config"].set_flag(t.BuilderFlag.VERSION_COMPATIBLE)
        ),
        call(
            "Config.set_memory_pool_limit",
            lambda t, o: o["Config"].set_memory_pool_limit(t.MemoryPoolType.WORKSPACE, 2 << 30),
        ),
        call(
            "Config.builder_optimization_level",
            lambda t, o: setattr(o["Config"], "builder_optimization_level", 3),
        ),
        call(
            "Config.hardware_compatibility_level",
            lambda t, o: setattr(
                o["Config"],
                "hardware_compatibility_level",
                t.HardwareCompatibilityLevel.AMPERE_PLUS,
            ),
        ),
        call(
            "Profile.set_shape", lambda t, o: o["Profile"].set_shape("images", shape, shape, shape)
        ),
        call(
            "Config.add_optimization_profile",
            lambda t, o: o["Config"].add_optimization_profile(o["Profile"]),
        ),
        call(
            "Config.set_calibration_profile",
            lambda t, o: o["Config"].set_calibration_profile(o["Profile"]),
        ),
        call(
            "Config.int8_calibrator",
            lambda t, o: setattr(o["Config"], "int8_calibrator", calibrator(t)),
        ),
        call(
            "Config.create_timing_cache",
            lambda t, o: o["Config"].create_timing_cache(b""),
            "TimingCache",
        ),
        call(
            "Config.set_timing_cache",
            lambda t, o: o["Config"].set_timing_cache(o["TimingCache"], False),
        ),
        call(
            "Builder.build_serialized_network",
            lambda t, o: o["Builder"].build_serialized_network(o["Network"], o["Config"]),
            "HostMemory",
        ),
        call("TimingCache.serialize", lambda t, o: o["TimingCache"].serialize(), "HostMemory"),
        call("HostMemory.nbytes", lambda t, o: o["HostMemory"].nbytes),
        call("HostMemory.dtype", lambda t, o: o["HostMemory"].dtype),
        call("HostMemory.data", lambda t, o: memoryview(o["HostMemory"])),
        call(
            "Runtime.engine_host_code_allowed",
            lambda t, o: setattr(o["Runtime"], "engine_host_code_allowed", True),
        ),
        call(
            "Runtime.deserialize_cuda_engine",
            lambda t, o: o["Runtime"].deserialize_cuda_engine(PLAN),
            "Engine",
        ),
        call("Engine.num_io_tensors", lambda t, o: o["Engine"].num_io_tensors),
        call("Engine.get_tensor_name", lambda t, o: o["Engine"].get_tensor_name(0)),
        call("Engine.get_tensor_mode", lambda t, o: o["Engine"].get_tensor_mode("images")),
        call("Engine.get_tensor_shape", lambda t, o: o["Engine"].get_tensor_shape("images")),
        call("Engine.get_tensor_dtype", lambda t, o: o["Engine"].get_tensor_dtype("images")),
        call(
            "Engine.get_tensor_profile_shape",
            lambda t, o: o["Engine"].get_tensor_profile_shape("images", 0),
        ),
        call(
            "Engine.create_execution_context",
            lambda t, o: o["Engine"].create_execution_context(),
            "Context",
        ),
        call("Context.set_input_shape", lambda t, o: o["Context"].set_input_shape("images", shape)),
        call("Context.get_tensor_shape", lambda t, o: o["Context"].get_tensor_shape("twice")),
        call(
            "Context.set_tensor_address",
            lambda t, o: o["Context"].set_tensor_address("images", 4096),
        ),
        call("Context.execute_async_v3", lambda t, o: o["Context"].execute_async_v3(4096)),
    )


CALLS = _calls()


def calibrator(trt: Any) -> Any:
    """A calibrator without images. Raises AttributeError from TensorRT 11 on."""

    class Calibrator(trt.IInt8EntropyCalibrator2):  # type: ignore[misc]
        def __init__(self) -> None:
            trt.IInt8EntropyCalibrator2.__init__(self)

    return Calibrator()


@dataclass(kw_only=True)
class Thing:
    """An object of the interface; `own`: its attributes."""

    kind: str
    own: dict[str, Any] = field(default_factory=dict)
    gone: bool = False


@dataclass(kw_only=True)
class Scene:
    """The machine's properties, and what was requested from it.

    `nothing`: calls that give nothing; `logged`: what TensorRT logs then; `failing`: a function of CUDA, and
    its error.
    """

    shape: tuple[int, ...] = (1, 3, 2, 2)
    inputs: int = 1
    nothing: frozenset[str] = frozenset()
    logged: str = ""
    failing: str = ""
    failing_from: int = 1
    capability: tuple[int, int] = (8, 7)
    takes_cache: bool = True
    flags: list[str] = field(default_factory=list)
    cleared: list[str] = field(default_factory=list)
    settings: dict[str, Any] = field(default_factory=dict)
    profiles: list[dict[str, list[tuple[int, ...]]]] = field(default_factory=list)
    network: int = -1
    batches: list[bytes] = field(default_factory=list)
    reached: list[str] = field(default_factory=list)


class Machine:
    """Implements TensorRT and CUDA. `faults`: errors in callbacks, which cannot raise."""

    def __init__(self, library: Path) -> None:
        self._library = ctypes.CDLL(str(library))
        self._library.stand_in_table.restype = WORD
        self._table = self._library.stand_in_table()
        self._callback = _ANSWER(self._answer)
        self._library.stand_in_answer_by(self._callback)
        atexit.register(self._library.stand_in_answer_by, None)  # objects are destroyed after that
        nothing = ctypes.create_string_buffer(512)
        self._true = (ctypes.addressof(nothing) | 0xFF) + 2
        """True, a number and an empty text, for calls whose result is not used."""
        self._kept: list[Any] = [nothing]
        self._things: dict[int, Thing] = {}
        self._memory: dict[int, Any] = {}
        self._names: dict[tuple[str, int], str] = {}
        self._learning: list[tuple[str, int]] | None = None
        self._gives = ""
        self.faults: list[str] = []
        self.scene = Scene()
        self.trt: Any = None

    @property
    def memory(self) -> int:
        """The number of GPU allocations, streams and events."""
        return len(self._memory)

    def make(self, kind: str, **own: Any) -> int:
        """Make an object; return its address."""
        inner, outer = (WORD * 1)(self._table), (WORD * 2)(self._table, 0)
        outer[1] = ctypes.addressof(inner)
        thing = Thing(kind=kind, own=own)
        self._things[ctypes.addressof(inner)] = thing
        self._things[ctypes.addressof(outer)] = thing
        self._kept.append((inner, outer))
        return ctypes.addressof(outer)

    def alive(self, kind: str) -> int:
        """The number of objects of a kind that were not destroyed."""
        gc.collect()
        found = {id(thing): thing for thing in self._things.values()}
        return sum(thing.kind == kind and not thing.gone for thing in found.values())

    # ---- which number is which call -----------------------------------------------------------------

    def learn(self, trt: Any) -> dict[str, str]:
        """Make every call once; return each result: accepted, absent, or the reason of a refusal."""
        self.trt, found = trt, {}
        logger = make_logger(trt)
        made: dict[str, Any] = {
            "Builder": trt.Builder(logger),
            "Runtime": trt.Runtime(logger),
        }
        self._learning = []
        for call in CALLS:
            self._learning.clear()
            self._gives = call.gives
            outcome = "yes"
            try:
                result = call.make(trt, made)
                made |= {call.gives: result} if call.gives else {}
            except AttributeError:
                outcome = "absent"
            except Exception as error:  # noqa: BLE001 - the table says why
                outcome = f"refused: {' '.join(str(error).split())[:100]}"
            new = [key for key in self._learning if key not in self._names]
            if outcome == "yes" and not new:
                outcome = "reaches nothing"
            if new:
                assert new[0][0] == call.kind, (call, new)
                self._names[new[0]] = call.name
            found[f"{call.kind}.{call.name}"] = outcome
            if call.gives == "Network":
                made["Parser"] = trt.OnnxParser(result, logger)
        self._learning = None
        self._kept.append((made, logger))
        return found

    # ---- answers ------------------------------------------------------------------------------------

    def _answer(self, number: int, *words: int) -> int:
        try:
            return self._dispatch(number, words)
        except Exception as error:  # noqa: BLE001 - ctypes would print it, and answer 0
            self.faults.append(f"{type(error).__name__}: {error}")
            return 0

    def _dispatch(self, number: int, words: tuple[int, ...]) -> int:
        if number >= _EXPORTED:
            return self._export(FUNCTIONS[number - _EXPORTED], words)
        thing, struct = self._things.get(words[0]), 0
        if thing is None:  # what is returned by value has its place in the first word
            thing, struct, words = self._things[words[1]], words[0], words[1:]
        if self._learning is not None:
            self._learning.append((thing.kind, number))
            if struct:
                self._write_shape(struct, ())
            return struct or (self.make(self._gives) if self._gives else self._true)
        name = self._names.get((thing.kind, number))
        if name is None:
            thing.gone = True
            if (
                number > 1 and thing.kind != "Parser"
            ):  # not a destructor, which a parser has elsewhere
                self.faults.append(f"function {number} of a {thing.kind} is not in CALLS")
            return 0
        self.scene.reached.append(f"{thing.kind}.{name}")
        if f"{thing.kind}.{name}" in self.scene.nothing:
            self._log(_ERROR, self.scene.logged)
            return 0
        found = getattr(self, f"{thing.kind}_{name}")(thing, *words[1:])
        if struct:
            self._write_shape(struct, found)
            return struct
        return self._to_word(found)

    def _export(self, name: str, words: tuple[int, ...]) -> int:
        if name.endswith("_INTERNAL"):
            kind = {"createInferBuilder": "Builder", "createInferRuntime": "Runtime"}.get(
                name.removesuffix("_INTERNAL"), "Parser"
            )
            self.logger = words[1] if kind == "Parser" else words[0]
            if kind in self.scene.nothing:
                self._log(_ERROR, self.scene.logged)
                return 0
            return self.make(kind)
        if name == self.scene.failing:
            self.scene.failing_from -= 1
            if self.scene.failing_from <= 0:
                return 2
        return int(getattr(self, name)(*words) or 0)

    def _to_word(self, found: Any) -> int:
        if isinstance(found, str):
            text = ctypes.create_string_buffer(found.encode())
            self._kept.append(text)
            return ctypes.addressof(text)
        return int(found or 0)

    @property
    def _major(self) -> int:
        return int(self.trt.__version__.split(".")[0])

    def _side(self) -> Any:
        return ctypes.c_int32 if self._major < 10 else ctypes.c_int64

    def _write_shape(self, place: int, shape: tuple[int, ...]) -> None:
        side = self._side()
        ctypes.c_int32.from_address(place).value = len(shape)
        sides = (side * 8).from_address(place + ctypes.sizeof(side))
        for index, value in enumerate(shape):
            sides[index] = value

    def _read_shape(self, place: int) -> tuple[int, ...]:
        side = self._side()
        count = ctypes.c_int32.from_address(place).value
        return tuple((side * 8).from_address(place + ctypes.sizeof(side))[:count])

    def _log(self, severity: int, text: str) -> None:
        if text:
            log = 0 if self._major < 11 else _VERSIONED
            self._call(self.logger, log, severity, self._to_word(text))

    def _call(self, thing: int, number: int, *words: int) -> int:
        """Call a method of a Python object: a logger, a calibrator."""
        table = WORD.from_address(thing).value
        function = WORD.from_address(table + 8 * number).value
        return int(ctypes.CFUNCTYPE(WORD, *[WORD] * (1 + len(words)))(function)(thing, *words))

    # ---- TensorRT -----------------------------------------------------------------------------------

    def Builder_create_network(self, this: Thing, flags: int, *_: int) -> int:  # noqa: N802
        self.scene.network = flags & 0xFFFFFFFF
        return self.make("Network")

    def Builder_create_builder_config(self, this: Thing, *_: int) -> int:  # noqa: N802
        return self.make("Config")

    def Builder_create_optimization_profile(self, this: Thing, *_: int) -> int:  # noqa: N802
        return self.make("Profile", shapes={})

    def Builder_build_serialized_network(  # noqa: N802
        self, this: Thing, network: int, config: int, *_: int
    ) -> int:
        given = self._things[config].own.get("calibrator")
        if given:
            self._calibrate(given)
        return self.make("HostMemory", data=PLAN)

    def _calibrate(self, given: int) -> None:
        """Calibrate as TensorRT does: from the cache, else batch by batch, then write the cache."""
        first = 0 if self._major < 10 else _VERSIONED
        size = self._call(given, first) & 0xFFFFFFFF
        self.scene.settings["batch"] = size
        length = ctypes.c_size_t(0)
        place = self._call(given, first + 2, ctypes.addressof(length))
        if place and length.value:
            self.scene.settings["cache"] = ctypes.string_at(place, length.value)
            if self.scene.takes_cache:
                return
        names = (WORD * 1)(self._to_word("images"))
        bindings = (WORD * 1)()
        sides = self.scene.shape[1:]
        count = 4 * size * sides[0] * sides[1] * sides[2]
        while (
            self._call(given, first + 1, ctypes.addressof(bindings), ctypes.addressof(names), 1)
            & 0xFF
        ):
            self.scene.batches.append(ctypes.string_at(bindings[0], count))
        text = ctypes.create_string_buffer(CACHE)
        self._call(given, first + 3, ctypes.addressof(text), len(CACHE))

    def Parser_parse(self, this: Thing, *_: int) -> int:  # noqa: N802
        return 1

    def Parser_num_errors(self, this: Thing, *_: int) -> int:  # noqa: N802
        return 1

    def Parser_get_error(self, this: Thing, *_: int) -> int:  # noqa: N802
        return self.make("ParserError")

    def ParserError_desc(self, this: Thing, *_: int) -> str:  # noqa: N802
        return "no importer registered for op: Det"

    def ParserError_node_name(self, this: Thing, *_: int) -> str:  # noqa: N802
        return "the_fancy_one"

    def ParserError_node_operator(self, this: Thing, *_: int) -> str:  # noqa: N802
        return "Det"

    def Network_num_inputs(self, this: Thing, *_: int) -> int:  # noqa: N802
        return self.scene.inputs

    def Network_num_outputs(self, this: Thing, *_: int) -> int:  # noqa: N802
        return 1

    def Network_get_input(self, this: Thing, index: int, *_: int) -> int:  # noqa: N802
        return self.make("Tensor", name=("images", "more")[index & 0xFFFFFFFF])

    def Network_get_output(self, this: Thing, *_: int) -> int:  # noqa: N802
        return self.make("Tensor", name="twice")

    def Tensor_name(self, this: Thing, *_: int) -> str:  # noqa: N802
        return str(this.own["name"])

    def Tensor_shape(self, this: Thing, *_: int) -> tuple[int, ...]:  # noqa: N802
        return self.scene.shape

    def Tensor_dtype(self, this: Thing, *_: int) -> int:  # noqa: N802
        return int(self.trt.DataType.FLOAT)

    def Config_clear_flag(self, this: Thing, flag: int, *_: int) -> None:  # noqa: N802
        self.scene.cleared.append(self._member("BuilderFlag", flag))

    def Config_set_flag(self, this: Thing, flag: int, *_: int) -> None:  # noqa: N802
        self.scene.flags.append(self._member("BuilderFlag", flag))

    def Config_set_memory_pool_limit(  # noqa: N802
        self, this: Thing, pool: int, size: int, *_: int
    ) -> None:
        self.scene.settings[self._member("MemoryPoolType", pool)] = size

    def Config_builder_optimization_level(self, this: Thing, level: int, *_: int) -> None:  # noqa: N802
        self.scene.settings["level"] = level & 0xFFFFFFFF

    def Config_hardware_compatibility_level(  # noqa: N802
        self, this: Thing, level: int, *_: int
    ) -> None:
        self.scene.settings["hardware"] = self._member("HardwareCompatibilityLevel", level)

    def Config_add_optimization_profile(self, this: Thing, profile: int, *_: int) -> int:  # noqa: N802
        self.scene.profiles.append(self._things[profile].own["shapes"])
        return len(self.scene.profiles) - 1

    def Config_set_calibration_profile(self, this: Thing, profile: int, *_: int) -> int:  # noqa: N802
        self.scene.settings["calibration"] = self._things[profile].own["shapes"]
        return 1

    def Config_int8_calibrator(self, this: Thing, given: int, *_: int) -> None:  # noqa: N802
        this.own["calibrator"] = given

    def Config_create_timing_cache(self, this: Thing, data: int, size: int, *_: int) -> int:  # noqa: N802
        return self.make("TimingCache", data=ctypes.string_at(data, size) if size else b"")

    def Config_set_timing_cache(self, this: Thing, cache: int, *_: int) -> int:  # noqa: N802
        data = self._things[cache].own["data"]
        return int(not data or data.startswith(b"timings"))

    def TimingCache_serialize(self, this: Thing, *_: int) -> int:  # noqa: N802
        return self.make("HostMemory", data=(this.own["data"] or b"timings:") + b" one more")

    def HostMemory_nbytes(self, this: Thing, *_: int) -> int:  # noqa: N802
        return len(this.own["data"])

    def HostMemory_dtype(self, this: Thing, *_: int) -> int:  # noqa: N802
        return int(self.trt.DataType.INT8)

    def HostMemory_data(self, this: Thing, *_: int) -> int:  # noqa: N802
        held = this.own.setdefault("held", ctypes.create_string_buffer(this.own["data"]))
        return ctypes.addressof(held)

    def Profile_set_shape(  # noqa: N802
        self, this: Thing, name: int, which: int, shape: int, rest: int, behind: int
    ) -> int:
        sizes = this.own["shapes"].setdefault(ctypes.string_at(name).decode(), [])
        sizes.append(self._read_shape(behind if self._major < 10 else shape))  # by value in 8.6
        return 1

    def Runtime_engine_host_code_allowed(self, this: Thing, *_: int) -> None:  # noqa: N802
        self.scene.settings["host code"] = True

    def Runtime_deserialize_cuda_engine(  # noqa: N802
        self, this: Thing, data: int, size: int, *_: int
    ) -> int:
        if ctypes.string_at(data, size) != PLAN:
            self._log(_WARNING, "a warning is no reason")
            self._log(_ERROR, "Serialization assertion magicTag == kMAGIC_TAG failed.\n")
            return 0
        return self.make("Engine")

    def Engine_num_io_tensors(self, this: Thing, *_: int) -> int:  # noqa: N802
        return 2

    def Engine_get_tensor_name(self, this: Thing, index: int, *_: int) -> str:  # noqa: N802
        return ("images", "twice")[index & 0xFFFFFFFF]

    def Engine_get_tensor_mode(self, this: Thing, name: int, *_: int) -> int:  # noqa: N802
        given = ctypes.string_at(name) == b"images"
        return int(self.trt.TensorIOMode.INPUT if given else self.trt.TensorIOMode.OUTPUT)

    def Engine_get_tensor_shape(self, this: Thing, *_: int) -> tuple[int, ...]:  # noqa: N802
        return self.scene.shape

    def Engine_get_tensor_dtype(self, this: Thing, *_: int) -> int:  # noqa: N802
        return int(self.trt.DataType.FLOAT)

    def Engine_get_tensor_profile_shape(  # noqa: N802
        self, this: Thing, name: int, profile: int, which: int, *_: int
    ) -> tuple[int, ...]:
        return ((1, 2, 4)[which & 0xFFFFFFFF], *self.scene.shape[1:])

    def Engine_create_execution_context(self, this: Thing, *_: int) -> int:  # noqa: N802
        return self.make("Context", at={})

    def Context_set_input_shape(self, this: Thing, name: int, shape: int, *_: int) -> int:  # noqa: N802
        this.own["shape"] = self._read_shape(shape)
        return 1

    def Context_get_tensor_shape(self, this: Thing, *_: int) -> tuple[int, ...]:  # noqa: N802
        return tuple(this.own["shape"])

    def Context_set_tensor_address(self, this: Thing, name: int, at: int, *_: int) -> int:  # noqa: N802
        this.own["at"][ctypes.string_at(name).decode()] = at
        return 1

    def Context_execute_async_v3(self, this: Thing, stream: int, *_: int) -> int:  # noqa: N802
        if stream not in self._memory:
            return 0
        count = 1
        for side in this.own["shape"]:
            count *= side
        places = (this.own["at"][name] for name in ("images", "twice"))
        given, twice = ((ctypes.c_float * count).from_address(place) for place in places)
        for index, value in enumerate(given):
            twice[index] = 2 * value
        return 1

    def _member(self, name: str, number: int) -> str:
        members = getattr(self.trt, name).__members__
        return str(next(n for n, value in members.items() if int(value) == number & 0xFFFFFFFF))

    # ---- CUDA: its runtime and its driver -----------------------------------------------------------

    def _allocate(self, target: int, size: int) -> None:
        held = ctypes.create_string_buffer(max(size, 1))
        self._memory[ctypes.addressof(held)] = held
        WORD.from_address(target).value = ctypes.addressof(held)

    def cudaMalloc(self, target: int, size: int, *_: int) -> None:  # noqa: N802
        self._allocate(target, size)

    def cudaStreamCreate(self, target: int, *_: int) -> None:  # noqa: N802
        self._allocate(target, 0)

    def cudaEventCreate(self, target: int, *_: int) -> None:  # noqa: N802
        self._allocate(target, 0)

    def cudaFree(self, place: int, *_: int) -> None:  # noqa: N802
        del self._memory[place]

    def cudaMemcpyAsync(self, to: int, of: int, size: int, *_: int) -> None:  # noqa: N802
        ctypes.memmove(to, of, size)

    def cudaStreamSynchronize(self, *_: int) -> None:  # noqa: N802
        pass

    def cudaEventRecord(self, *_: int) -> None:  # noqa: N802
        pass

    def cudaEventElapsedTime(self, target: int, *_: int) -> None:  # noqa: N802
        ctypes.c_float.from_address(target).value = 1.5

    def cudaGetErrorString(self, *_: int) -> int:  # noqa: N802
        return self._to_word("out of memory")

    def cudaGetDeviceCount(self, target: int, *_: int) -> None:  # noqa: N802
        ctypes.c_int.from_address(target).value = 1

    def cudaDeviceGetAttribute(self, target: int, which: int, *_: int) -> None:  # noqa: N802
        ctypes.c_int.from_address(target).value = self.scene.capability[(which & 0xFF) - 75]

    def cuDeviceGetAttribute(self, target: int, which: int, *_: int) -> None:  # noqa: N802
        self.cudaDeviceGetAttribute(target, which)

    def cuInit(self, *_: int) -> None:  # noqa: N802
        pass

    def cuDeviceGet(self, target: int, *_: int) -> None:  # noqa: N802
        ctypes.c_int.from_address(target).value = 0

    def cuDeviceGetName(self, target: int, *_: int) -> None:  # noqa: N802
        ctypes.memmove(target, b"Orin\0", 5)


def make_logger(trt: Any) -> Any:
    """A logger without output."""

    class Logger(trt.ILogger):  # type: ignore[misc]
        def __init__(self) -> None:
            trt.ILogger.__init__(self)

        def log(self, severity: Any, message: str) -> None:
            pass

    return Logger()
