"""What a figure is true of: the machine's name, from what kernels of several kinds say."""

import pytest

from buildsys.authoring.machine import machine_name, name_machine

X86 = "processor\t: 0\nvendor_id\t: AuthenticAMD\nmodel name\t: AMD  EPYC 9B45\n\nprocessor\t: 1\n"
PI = "processor\t: 0\nBogoMIPS\t: 108.00\nCPU part\t: 0xd0b\n\nModel\t\t: Raspberry Pi 5\n"
OLD_ARM = "Processor\t: ARMv7 Processor rev 4 (v7l)\nHardware\t: BCM2835\n"


@pytest.mark.parametrize(
    ("board", "cpuinfo", "processor", "architecture", "name"),
    [
        ("", X86, "x86_64", "x86_64", "AMD EPYC 9B45 (x86_64)"),
        (
            "Raspberry Pi 5 Model B Rev 1.0",
            PI,
            "",
            "aarch64",
            "Raspberry Pi 5 Model B Rev 1.0 (aarch64)",
        ),
        ("", OLD_ARM, "", "armv7l", "ARMv7 Processor rev 4 (v7l) (armv7l)"),
        ("", "", "Apple M2", "arm64", "Apple M2 (arm64)"),
        ("", "", "", "", "unknown CPU (unknown architecture)"),
    ],
)
def test_a_machine_is_named_by_its_processor(
    board: str, cpuinfo: str, processor: str, architecture: str, name: str
) -> None:
    """A figure without it would be restored on another machine as one of that."""
    assert name_machine(board, cpuinfo, processor, architecture) == name


def test_this_machine_has_a_name_and_keeps_it() -> None:
    """It is part of a key."""
    assert machine_name() == machine_name()
    assert machine_name().endswith(")")
