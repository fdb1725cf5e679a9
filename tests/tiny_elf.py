"""The smallest ARM executable with symbols: one loaded segment, a symbol table, no more."""

import struct

LOADED_AT = 0x1000
_SEGMENT = 0x100


def make_elf(code: bytes, symbols: dict[str, tuple[int, int]]) -> bytes:
    """A 32-bit little-endian ELF; `code` is loaded to LOADED_AT.

    `symbols`: name -> (address, size); functions have the lowest bit of their address set (Thumb).
    """
    names, entries = b"\0", bytes(16)
    for name, (address, size) in symbols.items():
        entries += struct.pack("<IIIBBH", len(names), address, size, 0x12, 0, 1)
        names += name.encode() + b"\0"
    section_names = b"\0.symtab\0.strtab\0.shstrtab\0"
    places, body = [], code
    for part in (entries, names, section_names):
        places.append((_SEGMENT + len(body), len(part)))
        body += part
    sections = bytes(40)
    for title, kind, (offset, size), link, width in (
        (1, 2, places[0], 2, 16),
        (9, 3, places[1], 0, 0),
        (17, 3, places[2], 0, 0),
    ):
        sections += struct.pack("<10I", title, kind, 0, 0, offset, size, link, 1, 4, width)
    start = _SEGMENT + len(body)
    header = b"\x7fELF\x01\x01\x01" + bytes(9)
    header += struct.pack("<HHIIIIIHHHHHH", 2, 40, 1, LOADED_AT, 52, start, 0, 52, 32, 1, 40, 4, 3)
    program = struct.pack("<8I", 1, _SEGMENT, LOADED_AT, LOADED_AT, len(code), len(code), 5, 4)
    return (header + program).ljust(_SEGMENT, b"\0") + body + sections
