"""The board's side of a serial connection: a Himax WE2 boot loader on a pseudo-terminal.

It implements what python-sscma 0.5.7 and Himax's xmodem_send.py expect: a menu, then XMODEM with
CRC-16 in packets of 128 bytes, and after each file the question whether to start. Every byte is
checked; received files are stored under the address in their preamble.
"""

import binascii
import contextlib
import os
import select
import threading
import time
import tty
from dataclasses import dataclass, field
from types import TracebackType

SOH, EOT, ACK, NAK, CAN = b"\x01", b"\x04", b"\x06", b"\x15", b"\x18"
PACKET = 128
MENU = b"\r\n[0] Reboot system\r\n[1] Xmodem download and burn FW image\r\n"
READY = b"\r\nSend data using the xmodem protocol from your terminal\r\n"
QUESTION = b"\r\nDo you want to end file transmission and reboot system? (y)\r\n"
_CALL_EVERY_SECONDS = 0.25


@dataclass(kw_only=True)
class Fault:
    """A fault at one packet of the model, counted from 1; `kind` is nak, cancel or silence."""

    kind: str = ""
    packet: int = 0


@dataclass(kw_only=True)
class Found:
    """What was received; `firmware` is a file that was sent without a preamble."""

    models: dict[int, bytes] = field(default_factory=dict)
    preambles: list[bytes] = field(default_factory=list)
    firmware: list[bytes] = field(default_factory=list)
    resent: int = 0
    restarted: bool = False
    faults: list[str] = field(default_factory=list)


class Peer:
    """A board at `port` within the block; `deaf`: it never answers."""

    def __init__(self, fault: Fault | None = None, deaf: bool = False) -> None:
        self.fault, self.found, self.deaf = fault or Fault(), Found(), deaf
        self._board, self._host = os.openpty()
        tty.setraw(self._host)  # kept open, since the sender closes and reopens it
        self.port = os.ttyname(self._host)
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> "Peer":
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._over.set()
        self._thread.join()
        os.close(self._board)
        os.close(self._host)

    def _run(self) -> None:
        with contextlib.suppress(EOFError):
            if self.deaf:
                while True:
                    self._read(1)
            self._await(b"1")
            self._write(MENU)
            self._await(b"1")
            self._write(READY)
            while not self.found.restarted:
                content = self._receive_file()
                self._take(content)
                self._write(QUESTION)
                self.found.restarted = self._await(b"n", b"y") == b"y"

    def _take(self, content: bytes) -> None:
        found = self.found
        if content[:2] == b"\xc0\x5a" and len(content) == PACKET:
            found.preambles.append(content)
        elif len(found.preambles) > len(found.models):
            found.models[int.from_bytes(found.preambles[-1][2:6], "little")] = content
        else:
            found.firmware.append(content)

    def _receive_file(self) -> bytes:
        """Receive one XMODEM file as in XMODEM.TXT."""
        content, expected, first = b"", 1, self._call()
        while first != EOT:
            if first != SOH:
                self.found.faults.append(f"{first!r} instead of a packet")
                raise EOFError
            number, complement, *_ = head = self._read(2)
            data, check = self._read(PACKET), self._read(2)
            good = number + complement == 0xFF and binascii.crc_hqx(data, 0) == int.from_bytes(
                check
            )
            if not good:
                self.found.faults.append(f"packet {head!r} is damaged")
            if self._goes_wrong(len(content) // PACKET + 1):
                self.found.resent += 1
                self._write(NAK)
            elif number == expected % 256:
                content, expected = content + data, expected + 1
                self._write(ACK)
            elif number == (expected - 1) % 256:
                self._write(ACK)  # a repeated packet whose acknowledgement was lost
            else:
                self.found.faults.append(f"packet {number} instead of {expected % 256}")
            first = self._read(1)
        self._write(ACK)
        return content

    def _goes_wrong(self, packet: int) -> bool:
        """Whether this packet must be sent again. Raises EOFError if the board gives up."""
        is_model = len(self.found.preambles) > len(self.found.models)
        if not is_model or self.fault.packet != packet:
            return False
        kind, self.fault = self.fault.kind, Fault()
        if kind == "cancel":
            self._write(CAN * 2)
        if kind != "nak":
            while True:
                self._read(1)
        return True

    def _call(self) -> bytes:
        """Send `C` until the first packet starts; earlier input is ignored."""
        while True:
            self._write(b"C")
            if self._readable(_CALL_EVERY_SECONDS):
                first = self._read(1)
                while first not in (SOH, EOT) and self._readable(0):
                    first = self._read(1)
                if first in (SOH, EOT):
                    return first

    def _await(self, *wanted: bytes) -> bytes:
        found = self._read(1)
        while found not in wanted:
            found = self._read(1)
        return found

    def _readable(self, seconds: float) -> bool:
        return bool(select.select([self._board], [], [], seconds)[0])

    def _read(self, count: int) -> bytes:
        """Read exactly `count` bytes. Raises EOFError at the end of the test."""
        content = b""
        while len(content) < count:
            while not self._readable(0.05):
                if self._over.is_set():
                    raise EOFError
            content += os.read(self._board, count - len(content))
        return content

    def _write(self, content: bytes) -> None:
        os.write(self._board, content)
        time.sleep(0)
