"""Run a program in a separate process so that its output is reproducible. Shipped as
`separate_process.py`: Python 3.8 or later, standard library only; see `engine_program`.
"""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys

_ADDR_NO_RANDOMIZE = 0x0040000
"""Linux' personality(2)."""
_QUERY = 0xFFFFFFFF
_PASSED_ON = ("LD_LIBRARY_PATH", "CUDA_VISIBLE_DEVICES")
"""Variables without which the host's TensorRT or the chosen GPU may not be found."""


def run_apart(python: str, program: str, request: str) -> int:
    """Run a program in a separate process with fixed addresses; returns its exit code."""
    if not settle():
        print("addresses are shuffled here: a float16 engine's bytes may differ from run to run")
    environment = {"PATH": os.defpath, "PYTHONHASHSEED": "0", "TZ": "UTC"}
    environment.update({name: os.environ[name] for name in _PASSED_ON if name in os.environ})
    sys.stdout.flush()
    command = [python, "-s", program, request]
    done = subprocess.run(command, check=False, env=environment, preexec_fn=_leave_interrupts)
    return done.returncode


def describe_end(code: int) -> str:
    """Return why a program ended without output. `code`: from `run_apart`; negative for a signal."""
    if code >= 0:
        return f"the builder ended with exit code {code}"
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = f"signal {-code}"
    memory = ": the system does that where memory is used up" if -code == signal.SIGKILL else ""
    return f"the builder was ended by {name}{memory}"


def _leave_interrupts() -> None:
    """Ignore Ctrl-C, which both processes receive: the parent ends the program and reports it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def settle() -> bool:
    """Make programs started by this process get the same addresses each time; returns False if the
    kernel does not allow it, as in a container with a strict seccomp profile.
    """
    personality = getattr(ctypes.CDLL(None), "personality", None)
    if personality is None:
        return False
    current = personality(ctypes.c_ulong(_QUERY))
    allowed = personality(ctypes.c_ulong(current | _ADDR_NO_RANDOMIZE)) if current >= 0 else -1
    return bool(allowed >= 0)
