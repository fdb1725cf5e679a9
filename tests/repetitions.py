"""How often tests with random input repeat: rarely by default, more often on request."""

import os

_FACTOR = int(os.environ.get("BUILDSYS_TEST_REPETITIONS", "1"))


def repetitions(few: int) -> int:
    """`few`, or that many times BUILDSYS_TEST_REPETITIONS."""
    return few * _FACTOR
