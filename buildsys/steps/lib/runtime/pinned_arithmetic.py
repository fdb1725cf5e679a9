"""Pin arithmetic so that results are the same bytes on every CPU.

torch, oneDNN, MKL, NumPy, OpenBLAS and OpenCV choose their kernels by the CPU, and kernels round
differently. This module prevents that: it demands CPU features that the pinned kernels need,
defines the environment variables of every step (`ENVIRONMENT`), and replaces functions of a library
when it is imported (`pin`, called by the launcher). The launcher imports this module, so that it
counts in the code digest of every step.

It covers x86-64 with AVX2 and FMA; nothing is guaranteed on other processors.
"""

import platform
import sys
import warnings
from collections.abc import Callable, Sequence
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import MappingProxyType, ModuleType
from typing import Any

from buildsys.steps.lib.runtime.progress import fail

ENVIRONMENT = MappingProxyType(
    {
        # ATen's own kernels: "default", "avx2" or "avx512" (aten/src/ATen/native/DispatchStub.cpp).
        "ATEN_CPU_CAPABILITY": "avx2",
        # torch's and TensorFlow's convolutions (oneDNN developer guide, "CPU Dispatcher Control").
        "ONEDNN_MAX_CPU_ISA": "AVX2",
        # torch's matrix products, the same on every vendor's CPU (Intel oneMKL developer guide,
        # "Values for the CBWR"). MKL's vector math still depends on the CPU: see `_pin_torch`.
        "MKL_CBWR": "COMPATIBLE",
        # NumPy's and SciPy's matrix products (OpenBLAS, README, "Support for multiple targets").
        "OPENBLAS_CORETYPE": "Haswell",
        # Above AVX2, by the names of NumPy 2 and of NumPy 1 (NumPy reference, "CPU/SIMD
        # optimizations"); an unknown name causes an ImportWarning, which Python hides.
        "NPY_DISABLE_CPU_FEATURES": "X86_V4 AVX512F AVX512CD AVX512_SKX AVX512_CLX AVX512_CNL"
        " AVX512_ICL AVX512_SPR",
        # OpenCV's functions of Intel's IPP (modules/core/src/system.cpp); its other kernels: `_pin_cv2`.
        "OPENCV_IPP": "disabled",
        # TensorFlow's oneDNN (TensorFlow guide, "Intel oneDNN optimizations"): use Eigen's kernels,
        # which are chosen when TensorFlow is compiled, instead of kernels chosen at run time.
        "TF_ENABLE_ONEDNN_OPTS": "0",
    }
)
"""Environment variables of a step's process, and where each is documented."""
FLOOR = ("abm", "avx2", "bmi1", "bmi2", "f16c", "fma", "movbe")
"""CPU features that the pinned kernels need, by the names of /proc/cpuinfo: a virtual machine may
hide one, and NumPy then uses other kernels (NumPy reference, "CPU/SIMD optimizations", X86_V3).
"""
_X86_64 = ("x86_64", "AMD64")
_CPUINFO = Path("/proc/cpuinfo")


def pin() -> None:
    """Check the CPU features, and replace what no variable controls; call it before a step imports
    anything.
    """
    if platform.machine() not in _X86_64:
        return
    message = floor_message()
    if message:
        fail(message)
    sys.meta_path.insert(0, _Pinning())


def floor_message() -> str:
    """Return which CPU features are missing and what to do; "" if none is missing."""
    missing = missing_of_floor(_CPUINFO) if platform.machine() in _X86_64 else []
    if not missing:
        return ""
    return (
        f"this CPU has no {' and no '.join(missing)}, which arithmetic that is the same on every CPU"
        " needs; build on a machine that has them (Intel since Haswell of 2013, AMD since Excavator"
        " of 2015), and share its store: what was built there is restored here."
    )


def missing_of_floor(cpuinfo: Path) -> list[str]:
    """Return the missing CPU features according to /proc/cpuinfo; [] if it cannot be read."""
    try:
        lines = cpuinfo.read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        return []
    found = next((line.split() for line in lines if line.startswith("flags")), None)
    return [name.upper() for name in FLOOR if found is not None and name not in found]


class _Pinning:
    """A module finder that pins a library as soon as any code imports it."""

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return a spec whose loader pins the library; None for libraries that are not pinned."""
        pin_library = _LIBRARIES.get(name)
        spec = PathFinder.find_spec(name, path, target) if pin_library else None
        if spec is None or spec.loader is None or pin_library is None:
            return spec
        load = spec.loader.exec_module

        def load_pinned(module: ModuleType) -> None:
            load(module)
            pin_library(module)

        vars(spec.loader)["exec_module"] = load_pinned
        return spec


def _pin_cv2(cv2: Any) -> None:
    """Select plain kernels: SIMD kernels (AVX2, SSE4) convert BGR to HSV differently."""
    if hasattr(cv2, "setUseOptimized"):  # the package first imports a module of the same name
        cv2.setUseOptimized(False)


def _pin_torch(torch: Any) -> None:
    """Replace the operators whose CPU kernel is MKL's vector math, in all their forms.

    That kernel depends on the CPU and its vendor, regardless of MKL_CBWR. The dispatcher's CPU key
    is below autograd's, so that gradients do not change. Optimizers use these square roots, too.
    """
    library = torch.library.Library("aten", "IMPL")
    _KEPT.append(library)  # garbage collection of the library would remove its kernels
    for name, compute in _OPERATORS.items():
        for form, replace in (("", _new), ("_", _in_place), (".out", _into)):
            _override(torch, library, f"{name}{form}", replace(torch, compute))
    for form, replace in (
        ("pow.Tensor_Scalar", _new),
        ("pow_.Scalar", _in_place),
        ("pow.Tensor_Scalar_out", _into),
    ):
        _override(torch, library, form, replace(torch, _sqrt), _is_half)


def _override(
    torch: Any,
    library: Any,
    name: str,
    replacement: Callable[..., Any],
    applies: Callable[..., bool] = lambda *_: True,
) -> None:
    """Replace an operator for float32, float64 and integers; other types use the original kernel."""
    plain = torch.library.get_kernel(f"aten::{name}", "CPU")
    kinds = (torch.float32, torch.float64)
    in_place = name.partition(".")[0].endswith("_")

    def compute(keys: Any, x: Any, *others: Any, **named: Any) -> Any:
        if applies(*others):
            integer = not (x.dtype.is_floating_point or x.dtype.is_complex)
            real = x.to(torch.get_default_dtype()) if integer and not in_place else x
            if real.dtype in kinds:
                return replacement(real, **named)
        return plain.call_boxed(keys, x, *others, **named)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about replacing an existing kernel
        library.impl(name, compute, "CPU", with_keyset=True)


def _is_half(exponent: Any) -> bool:
    """Return whether an exponent is 0.5, for which torch computes the square root; a complex one
    makes the result complex.
    """
    return isinstance(exponent, float) and exponent == 0.5


def _new(torch: Any, compute: Callable[[Any, Any], Any]) -> Callable[..., Any]:
    return lambda x: compute(torch, x)


def _in_place(torch: Any, compute: Callable[[Any, Any], Any]) -> Callable[..., Any]:
    return lambda x: x.copy_(compute(torch, x))


def _into(torch: Any, compute: Callable[[Any, Any], Any]) -> Callable[..., Any]:
    def fill(x: Any, out: Any) -> Any:
        return torch.mul(compute(torch, x), 1, out=out)  # performs torch's own checks of `out`

    return fill


def _sqrt(torch: Any, x: Any) -> Any:
    """Return the square root by the CPU's instruction, correctly rounded as IEEE 754 requires."""
    return _by_numpy("sqrt", torch, x)


def _by_numpy(name: str, torch: Any, x: Any) -> Any:
    import numpy as np

    result = torch.empty_like(x)
    with np.errstate(invalid="ignore", divide="ignore"):
        getattr(np, name)(x.detach().numpy(), out=result.numpy())
    return result


def _atan(torch: Any, x: Any) -> Any:
    """Return the arctangent by SLEEF in ATen."""
    return torch.atan2(x, torch.ones_like(x))


def _asin(torch: Any, x: Any) -> Any:
    return torch.atan2(x, ((1 - x) * (1 + x)).sqrt())


def _acos(torch: Any, x: Any) -> Any:
    return torch.atan2(((1 - x) * (1 + x)).sqrt(), x)


def _log10(torch: Any, x: Any) -> Any:
    """Return the decimal logarithm in float64 by the C library, which is exact for powers of ten."""
    if x.dtype == torch.float64:
        return _by_numpy("log10", torch, x)
    return (x.double().log() / _LOG_OF_10).to(x.dtype)


def _tan(torch: Any, x: Any) -> Any:
    wide = x.double()
    return (wide.sin() / wide.cos()).to(x.dtype)


_LOG_OF_10 = 2.302585092994046
_OPERATORS: MappingProxyType[str, Callable[[Any, Any], Any]] = MappingProxyType(
    {"acos": _acos, "asin": _asin, "atan": _atan, "log10": _log10, "sqrt": _sqrt, "tan": _tan}
)
"""The operators to replace, found by running every elementwise operator of torch 2.13 natively and
on emulated CPUs.
"""
_KEPT: list[Any] = []
_LIBRARIES: MappingProxyType[str, Callable[[Any], None]] = MappingProxyType(
    {"cv2": _pin_cv2, "torch": _pin_torch}
)
"""The function that pins each library, by its name."""
