"""Brings one model into the flash of a Himax WE2 board with python-sscma's own flasher.

Run by its path in the tool environment `flash`; imports nothing of buildsys. python-sscma's command
line is not used, because of what its 0.5.7 does (sscma/cli/flahser.py, sscma/flashers/core.py):
it ends with 0 whatever went wrong, it takes the last port of its list where the one that was named
is not in it, and where the board falls silent it asks sixty times for a minute each.
Sent are two XMODEM files, the 128-byte packet that says where the model goes, and the model;
without the first the board would take the model for its firmware: position 0 is refused.
"""

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

_CANCEL = b"\x18"
_TRANSFERS = 2


class _LineLost(Exception):
    """The board cancelled the transfer, or answers no more."""


class _Line:
    """Watches what passes between the vendor's sender and the board.

    `patience`: seconds of silence after which the board is given up, and how long it may take until
    somebody has pressed its reset button. `accepted`: for each XMODEM file, whether the board
    acknowledged all of it; the vendor's `write` does not tell.
    """

    def __init__(self, flasher: Any, patience: float) -> None:
        self.flasher, self.patience = flasher, patience
        self.accepted: list[bool] = []
        self._heard = time.monotonic()
        self._cancels = 0
        self._send, self._receive = flasher.xmodem.send, flasher.xmodem.getc
        flasher.xmodem.send, flasher.xmodem.getc = self.send, self.receive
        wait = flasher.wait_for_bootloader  # counts milliseconds, five seconds of its own
        flasher.wait_for_bootloader = lambda: wait(timeout=int(patience * 1000))

    def send(self, *arguments: Any, **options: Any) -> bool:
        self._heard = time.monotonic()
        self.accepted.append(bool(self._send(*arguments, **options)))
        return self.accepted[-1]

    def receive(self, size: int, timeout: float = 1) -> Any:
        """What the vendor's `getc` reads. Raises _LineLost: two CAN in a row end a transfer
        (Christensen's XMODEM.TXT as amended by Forsberg), which its sender takes for noise.
        """
        if self.flasher.serial.timeout > self.patience:
            self.flasher.serial.timeout = self.patience
        found = self._receive(size, timeout)
        if not found and time.monotonic() - self._heard >= self.patience:
            message = f"the board has not answered for {self.patience:g} s"
            raise _LineLost(message)
        if found:
            self._heard = time.monotonic()
        self._cancels = self._cancels + 1 if found == _CANCEL else 0
        if self._cancels > 1:
            message = "the board cancelled the transfer"
            raise _LineLost(message)
        return found


def main(arguments: Sequence[str] | None = None) -> int:
    """0 when the board acknowledged every packet and was sent the start command; 1 with the reason."""
    options = _parser().parse_args(arguments)
    data = options.file.read_bytes()

    from sscma.flashers.core import HimaxFlasher

    flasher = HimaxFlasher(options.port, baudrate=options.baud)
    line = _Line(flasher, options.patience)
    try:
        flasher.write(data, offset=options.position)
    except Exception as error:  # the vendor's code raises nothing narrower
        print(f"\nerror: {error}", file=sys.stderr)
        return 1
    if line.accepted != [True] * _TRANSFERS:
        print("\nerror: the board did not acknowledge the whole model", file=sys.stderr)
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("port", help="serial port")
    parser.add_argument("file", type=Path, help="the model")
    parser.add_argument("position", type=_position, help="where it goes, such as 0x00400000")
    parser.add_argument("--baud", type=int, default=921600)
    parser.add_argument("--patience", type=float, default=60.0, help="seconds of silence")
    return parser


def _position(text: str) -> int:
    value = int(text, 0)
    if not 0 < value < 1 << 32:
        raise argparse.ArgumentTypeError(f"{text} is no place for a model")
    return value


if __name__ == "__main__":
    sys.exit(main())
