"""Decides whether two results of one step agree, by kind of file.

Files of a kind that the table does not contain agree when their bytes are equal.
"""

import ast
import io
import math
import struct
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from buildsys.spec import Format
from buildsys.steps.lib.parity.tolerances import CLOSE, CLOSE_SHARE, KERNEL_STEPS
from buildsys.typed_json import decode, read

METRIC_TOLERANCE = 0.002
"""Largest absolute difference of a share (mAP) from the arithmetic of another CPU or a GPU."""
_LARGEST_ARRAYS = 1 << 30
"""Limit on the bytes of a recording's arrays: a crafted file may claim more."""
_TYPES = {"<f2": "e", "<f4": "f", "<f8": "d", "|i1": "b", "|u1": "B", "<i2": "h", "<i4": "i"}
"""NumPy's types of recordings in the notation of `struct`."""


@dataclass(frozen=True, kw_only=True)
class Agreement:
    """Whether two files agree, and how far they are apart, as text."""

    within: bool
    text: str


def compare_files(kind: str, published: bytes, again: bytes) -> Agreement:
    """Compare two files of an output `kind` whose bytes differ."""
    compare = _KINDS.get(kind)
    try:
        return compare(published, again) if compare else OTHER_BYTES
    except (ValueError, TypeError, KeyError, SyntaxError, struct.error, zipfile.BadZipFile):
        return OTHER_BYTES


OTHER_BYTES = Agreement(within=False, text="other bytes")
"""For a kind of file whose bytes have to be equal."""


def _metrics(published: bytes, again: bytes) -> Agreement:
    """Compare shares by name: each within METRIC_TOLERANCE; the other values are equal."""
    (old, beside), (new, beside_new) = _shares(published), _shares(again)
    if old.keys() != new.keys():
        return Agreement(within=False, text="other figures")
    others = [n for n in (beside | beside_new) if beside.get(n) != beside_new.get(n)]
    if others:
        return Agreement(within=False, text=f"another {', '.join(others)}")
    gap = max((abs(new[name] - value) for name, value in old.items()), default=math.inf)
    return _judge(gap, METRIC_TOLERANCE, "largest difference")


def _shares(metrics: bytes) -> tuple[dict[str, float], dict[str, object]]:
    """Return the figures, and what was measured with them: the file, images, kernels."""
    found = read(metrics)
    if not isinstance(found, dict):
        raise ValueError("it contains no metrics")
    figures = decode(dict[str, float | None], found["metrics"])
    shares = {name: value for name, value in figures.items() if value is not None}
    beside = {name: value for name, value in found.items() if name != "metrics"}
    return shares, beside | {"not measured": sorted(figures.keys() - shares.keys())}


def _follows(published: bytes, again: bytes) -> Agreement:
    """Compare names and types of the curves' values, not the values: `_metrics` compares figures from
    the same detections.
    """
    if not _are_alike(read(published), read(again)):
        return Agreement(within=False, text="other curves")
    return Agreement(within=True, text="as the metrics")


def _are_alike(old: object, new: object) -> bool:
    """Return whether both have the same names and types of values; lists may differ in length."""
    if isinstance(old, dict) and isinstance(new, dict):
        return old.keys() == new.keys() and all(_are_alike(old[name], new[name]) for name in old)
    if isinstance(old, bool) or isinstance(new, bool):
        return type(old) is type(new)
    if isinstance(old, int | float) and isinstance(new, int | float):
        return math.isfinite(old) == math.isfinite(new)
    return type(old) is type(new)


def _verdict(published: bytes, again: bytes) -> Agreement:
    """Compare two judgements: texts, counts and booleans are equal, figures within
    METRIC_TOLERANCE.

    The tolerance is relative to the figure, or to 1 for smaller figures.
    """
    gap = max(_gaps(read(published), read(again)), default=0.0)
    if gap == math.inf:
        return Agreement(within=False, text="another judgement")
    return _judge(gap, METRIC_TOLERANCE, "the same judgement, figures apart by")


def _gaps(old: object, new: object) -> Iterator[float]:
    if isinstance(old, float) and isinstance(new, float):
        yield abs(new - old) / max(1.0, abs(old))
    elif isinstance(old, dict) and isinstance(new, dict) and list(old) == list(new):
        for name in old:
            yield from _gaps(old[name], new[name])
    elif isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        for one, other in zip(old, new, strict=True):
            yield from _gaps(one, other)
    elif old != new or type(old) is not type(new):
        yield math.inf


def _recording(published: bytes, again: bytes) -> Agreement:
    """Compare outputs of a network: floats like the parity ladder, integers within KERNEL_STEPS."""
    old, new = _arrays(published), _arrays(again)
    if [(name, a.kind, a.shape) for name, a in old.items()] != [
        (name, a.kind, a.shape) for name, a in new.items()
    ]:
        return Agreement(within=False, text="other outputs")
    worst = max((old[name].share_of_limit(new[name]) for name in old), default=math.inf)
    return _judge(worst, 1.0, "share of what the parity ladder allows")


@dataclass(frozen=True, kw_only=True)
class _Array:
    """An array of a .npz file, in C order."""

    kind: str
    shape: tuple[int, ...]
    values: tuple[float, ...]

    def share_of_limit(self, other: "_Array") -> float:
        """Return the largest share of its limit that any row reaches.

        Infinite where a value is NaN or infinite on one side only. Limits come from finite values.
        """
        worst = 0.0
        for old, new in zip(self.rows(), other.rows(), strict=True):
            pairs = list(zip(old, new, strict=True))
            if any(_special(a) != _special(b) for a, b in pairs):
                return math.inf
            finite = [(a, b) for a, b in pairs if math.isfinite(a)]
            gap = max((abs(b - a) for a, b in finite), default=0.0)
            limit = float(KERNEL_STEPS)
            if self.kind in "efd":
                limit = max(CLOSE, CLOSE_SHARE * max((abs(a) for a, _ in finite), default=0.0))
            worst = max(worst, gap / limit)
        return worst

    def rows(self) -> Iterator[tuple[float, ...]]:
        """Yield rows for `output_figures.closest`.

        Of [n, a, b], a row is one place on the shorter axis; otherwise it is all values.
        """
        if len(self.shape) != 3:
            yield self.values
            return
        count, a, b = self.shape
        for place in range(min(a, b)):
            if a > b:
                yield self.values[place::b]
            else:
                starts = (image * a * b + place * b for image in range(count))
                yield tuple(v for start in starts for v in self.values[start : start + b])


def _special(value: float) -> str:
    """Return "nan", "inf" or "-inf" for a value without a distance; empty for a finite one."""
    return "" if math.isfinite(value) else str(value)


def _arrays(file: bytes) -> dict[str, _Array]:
    """Return the arrays of a .npz file.

    Format: https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html. Raises
    ValueError for types that recordings do not have.
    """
    with zipfile.ZipFile(io.BytesIO(file)) as archive:
        if sum(member.file_size for member in archive.infolist()) > _LARGEST_ARRAYS:
            raise ValueError("larger than any recording")
        return {
            name.removesuffix(".npy"): _array(archive.read(name)) for name in archive.namelist()
        }


def _array(data: bytes) -> _Array:
    if data[:8] not in (b"\x93NUMPY\x01\x00", b"\x93NUMPY\x02\x00"):
        raise ValueError("not an array of NumPy")
    wide = data[6] == 2
    start = 12 if wide else 10
    (length,) = struct.unpack_from("<I" if wide else "<H", data, 8)
    header = ast.literal_eval(data[start : start + length].decode("latin-1"))
    kind, shape = _TYPES[header["descr"]], tuple(int(side) for side in header["shape"])
    if header["fortran_order"]:
        raise ValueError("not in C order")
    values = struct.unpack(f"<{math.prod(shape)}{kind}", data[start + length :])
    return _Array(kind=kind, shape=shape, values=values)


def _judge(value: float, limit: float, what: str) -> Agreement:
    return Agreement(within=value <= limit, text=f"{what} {value:.5f}, at most {limit:g}")


_KINDS: dict[str, Callable[[bytes, bytes], Agreement]] = {
    Format.METRICS: _metrics,
    Format.CURVES: _follows,
    Format.RECORDING: _recording,
    Format.VERDICT: _verdict,
    Format.EVIDENCE: _verdict,
}
