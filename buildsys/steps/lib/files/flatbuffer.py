"""Read a flatbuffer with a check on every access; the usual readers crash on damaged files."""

import struct

OUTSIDE = (struct.error, ValueError)
"""Exceptions of a read outside the file."""


class FlatBuffer:
    """Tables, vectors and numbers by their offsets; raises ValueError or struct.error outside the
    data.
    """

    def __init__(self, data: bytes | bytearray) -> None:
        self.data = data

    def number(self, place: int, code: str) -> int:
        if place < 0:
            raise ValueError("before the file's start")
        (value,) = struct.unpack_from("<" + code, self.data, place)
        return int(value)

    def field(self, table: int, index: int) -> int:
        """Return the offset of a table's field; 0 if it is absent."""
        entries = table - self.number(table, "i")
        offset = 4 + 2 * index
        if offset >= self.number(entries, "H"):
            return 0
        relative = self.number(entries + offset, "H")
        return table + relative if relative else 0

    def table(self, place: int) -> int:
        """Return the table that a field points to; 0 if it is absent."""
        return place + self.number(place, "I") if place else 0

    def scalar(self, table: int, index: int, code: str) -> int:
        """Return a numeric field; 0 if it is absent."""
        place = self.field(table, index)
        return self.number(place, code) if place else 0

    def vector(self, place: int, width: int) -> tuple[int, int]:
        """Return start and length of the vector that a field points to."""
        if not place:
            return 0, 0
        start = place + self.number(place, "I")
        count = self.number(start, "I")
        if start + 4 + count * width > len(self.data):
            raise ValueError("behind the file's end")
        return start + 4, count

    def tables(self, place: int) -> list[int]:
        """Return the tables of a vector."""
        start, count = self.vector(place, 4)
        return [at + self.number(at, "I") for at in range(start, start + 4 * count, 4)]

    def integers(self, place: int) -> list[int]:
        """Return a vector of int32."""
        start, count = self.vector(place, 4)
        return list(struct.unpack_from(f"<{count}i", self.data, start)) if count else []

    def longs(self, place: int) -> list[int]:
        """Return a vector of int64."""
        start, count = self.vector(place, 8)
        return list(struct.unpack_from(f"<{count}q", self.data, start)) if count else []

    def floats(self, place: int) -> list[float]:
        """Return a vector of float32."""
        start, count = self.vector(place, 4)
        return list(struct.unpack_from(f"<{count}f", self.data, start)) if count else []

    def content(self, place: int) -> bytes:
        """Return the bytes of a vector or a text."""
        start, count = self.vector(place, 1)
        return bytes(self.data[start : start + count])

    def text(self, place: int) -> str:
        """Return a text, decoded from UTF-8; invalid bytes become U+FFFD."""
        return self.content(place).decode(errors="replace")
