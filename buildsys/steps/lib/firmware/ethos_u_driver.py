"""Read the payload that Vela puts into an `ethos-u` operator, in the way of Arm's driver on the
device.

Words of 32 bits, little endian: the fourcc, then driver actions (tag: action in bits 0..7, length
high in 8..15, parameter in 16..31). OPTIMIZER_CONFIG carries the hardware that the stream is for,
COMMAND_STREAM the commands. Source: ethos-u-core-driver (ethosu_driver.c, ethosu_interface.h) and the
register descriptions that Vela ships.
"""

import struct
from dataclasses import dataclass

FOURCC = b"COP1"
_CONFIG, _STREAM, _READ, _DUMP, _NOP = 1, 2, 3, 4, 5
_ALIGNMENT = 16
"""Alignment of the command stream in bytes: the NPU fetches it in beats of 16 bytes."""
_MOST_BASES = 8
"""Base address registers of the NPU; a region is the number of one."""
_REGIONS = frozenset({0x10F, 0x11F, 0x128, 0x129, 0x130, 0x131, 0x18F})
"""NPU_SET_*_REGION: IFM, OFM, WEIGHT, SCALE, DMA0_SRC, DMA0_DST, IFM2."""
_REGION, _INTERNAL = 0x7, 0x100
"""Bits of a region's parameter: its number, and the flag for DMA within the NPU's own memory."""
_OWN_REGIONS = 3
"""Weights, arena, fast scratch. With `--separate-io-regions` more are used, which TFLite Micro's
kernel does not provide.
"""
_PRODUCTS = {"ethos-u55": 0, "ethos-u65": 1, "ethos-u85": 2}


@dataclass(frozen=True, kw_only=True)
class Payload:
    """The facts in a payload; `product` 0 U55, 1 U65, 2 U85; `architecture` major, minor, patch.

    `stream_offset`, `stream_bytes`: the command stream within the payload; -1 if there is none.
    """

    fourcc: str
    product: int
    macs: int
    stream_version: int
    architecture: tuple[int, int, int]
    stream_offset: int
    stream_bytes: int
    regions: tuple[int, ...]

    def describe(self) -> dict[str, object]:
        """Return the facts for the proof."""
        names = {number: name for name, number in _PRODUCTS.items()}
        return {
            "fourcc": self.fourcc,
            "npu": f"{names.get(self.product, f'product {self.product}')}-{self.macs}",
            "architecture": ".".join(map(str, self.architecture)),
            "command_stream_bytes": self.stream_bytes,
            "regions": list(self.regions),
        }


def read(data: bytes) -> Payload:
    """Return a payload's actions. Raises ValueError with a sentence if they are not valid."""
    if len(data) < 4 or len(data) % 4:
        raise ValueError(f"the driver's payload has {len(data)} bytes, no whole words")
    words = struct.unpack(f"<{len(data) // 4}I", data)
    config = identity = 0
    start, length, place = -1, 0, 1
    while place < len(words) and start < 0:
        action, high, low = words[place] & 0xFF, words[place] >> 8 & 0xFF, words[place] >> 16
        if action == _CONFIG and place + 2 < len(words):
            config, identity = words[place + 1], words[place + 2]
            place += 3
        elif action == _STREAM:
            start, length = place + 1, high << 16 | low
        elif action in (_NOP, _READ, _DUMP):
            place += 1
        else:
            raise ValueError(f"the driver's payload has an unknown action {action} at word {place}")
    stream = words[start : start + length] if start >= 0 else ()
    if len(stream) != length:
        raise ValueError(f"the command stream is cut off: {len(stream)} of {length} words")
    return Payload(
        fourcc=data[:4].decode("ascii", "replace"),
        product=config >> 28,
        macs=1 << (config & 0xF),
        stream_version=config >> 4 & 0xF,
        architecture=(identity >> 28, identity >> 20 & 0xFF, identity >> 16 & 0xF),
        stream_offset=4 * start if start >= 0 else -1,
        stream_bytes=4 * length,
        regions=_find_regions(stream),
    )


def _find_regions(stream: tuple[int, ...]) -> tuple[int, ...]:
    """Return the base addresses that the commands use: a command is one word, or two if bit 14 is
    set.
    """
    found: set[int] = set()
    place = 0
    while place < len(stream):
        word = stream[place]
        if word & 0xFFFF in _REGIONS and not word >> 16 & _INTERNAL:
            found.add(word >> 16 & _REGION)
        place += 2 if word & 0x4000 else 1
    return tuple(sorted(found))


def problems(payload: Payload, accelerator: str) -> list[str]:
    """Return why the driver of this NPU would reject the payload."""
    family, _, macs = accelerator.rpartition("-")
    found = []
    if payload.fourcc != FOURCC.decode():
        found.append(
            f"its fourcc is {payload.fourcc!r}; the driver takes COP1 (no `--cop-format COP2`)"
        )
    if payload.product != _PRODUCTS.get(family, payload.product) or str(payload.macs) != macs:
        found.append(
            f"it is compiled for {payload.describe()['npu']}, the target has {accelerator}"
        )
    if payload.stream_version != 0:
        found.append(
            f"its command stream is of version {payload.stream_version}, the driver's is 0"
        )
    if payload.stream_offset < 0 or not payload.stream_bytes:
        found.append("it holds no command stream")
    elif payload.stream_offset % _ALIGNMENT:
        found.append(f"its command stream begins at byte {payload.stream_offset}, not at one of 16")
    if payload.regions and max(payload.regions) >= min(_OWN_REGIONS, _MOST_BASES):
        found.append(
            f"its commands use base address {max(payload.regions)}: TFLite Micro fills"
            f" {_OWN_REGIONS} (no `--separate-io-regions`)"
        )
    return found
