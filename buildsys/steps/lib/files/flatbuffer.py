"""A flatbuffer whose every read is checked: its usual readers end in a segmentation fault."""

import struct

OUTSIDE = (struct.error, ValueError)
"""What a read outside the file raises."""


class FlatBuffer:
    """Tables, vectors and numbers by their offsets; raises ValueError or struct.error outside."""

    def __init__(self, data: bytes | bytearray) -> None:
        self.data = data

    def number(self, place: int, code: str) -> int:
        if place < 0:
            raise ValueError("before the file's start")
        (value,) = struct.unpack_from("<" + code, self.data, place)
        return int(value)

    def field(self, table: int, index: int) -> int:
        """Where a table's field stands; 0 where it is left out."""
        entries = table - self.number(table, "i")
        offset = 4 + 2 * index
        if offset >= self.number(entries, "H"):
            return 0
        relative = self.number(entries + offset, "H")
        return table + relative if relative else 0

    def table(self, place: int) -> int:
        """The table that a field points to; 0 where it is left out."""
        return place + self.number(place, "I") if place else 0

    def scalar(self, table: int, index: int, code: str) -> int:
        """A field that is a number; 0 where it is left out."""
        place = self.field(table, index)
        return self.number(place, code) if place else 0

    def vector(self, place: int, width: int) -> tuple[int, int]:
        """Start and length of the vector that a field points to."""
        if not place:
            return 0, 0
        start = place + self.number(place, "I")
        count = self.number(start, "I")
        if start + 4 + count * width > len(self.data):
            raise ValueError("behind the file's end")
        return start + 4, count

    def tables(self, place: int) -> list[int]:
        """The tables of a vector of them."""
        start, count = self.vector(place, 4)
        return [at + self.number(at, "I") for at in range(start, start + 4 * count, 4)]

    def integers(self, place: int) -> list[int]:
        """A vector of int32."""
        start, count = self.vector(place, 4)
        return list(struct.unpack_from(f"<{count}i", self.data, start)) if count else []

    def longs(self, place: int) -> list[int]:
        """A vector of int64."""
        start, count = self.vector(place, 8)
        return list(struct.unpack_from(f"<{count}q", self.data, start)) if count else []

    def floats(self, place: int) -> list[float]:
        """A vector of float32."""
        start, count = self.vector(place, 4)
        return list(struct.unpack_from(f"<{count}f", self.data, start)) if count else []

    def content(self, place: int) -> bytes:
        """A vector of bytes, or a text."""
        start, count = self.vector(place, 1)
        return bytes(self.data[start : start + count])

    def text(self, place: int) -> str:
        """A text in UTF-8; what is none is replaced."""
        return self.content(place).decode(errors="replace")
