"""How often a test repeats what it does at random: a little every time, a lot when asked to."""

import os

_FACTOR = int(os.environ.get("BUILDSYS_TEST_REPETITIONS", "1"))


def repetitions(few: int) -> int:
    """`few`, or that many times BUILDSYS_TEST_REPETITIONS."""
    return few * _FACTOR
