"""Networks with an additional grid: their outputs are described by their own strides.

Decoding with them is tested in tests/tools/test_architectures.py.
"""

import pytest

from buildsys.spec import STRIDE_SETS, STRIDES
from buildsys.steps.lib.heads import meanings
from buildsys.steps.lib.heads.formulas import find_strides
from buildsys.steps.lib.heads.outputs import head_outputs

_SIDE, _CLASSES = 128, 3


@pytest.mark.parametrize("strides", STRIDE_SETS)
@pytest.mark.parametrize("head", ["raw", "decoded", "split"])
def test_outputs_tell_the_strides(head: str, strides: tuple[int, ...]) -> None:
    """Strides are found by the outputs' names or by the number of cells."""
    outputs = head_outputs(head, _SIDE, _SIDE, _CLASSES, 0, 0, "detect", strides)
    sides = [side for tensor in outputs for side in tensor.shape]
    names = [tensor.name for tensor in outputs]
    assert find_strides(sides, names, _SIDE, _SIDE) == strides
    assert all(meanings.tell_output(head, "detect", name) for name in names)


def test_the_order_of_cells_names_every_stride() -> None:
    """The description of the cell order names every stride."""
    assert "stride 4 first, then 8, then 16, then 32;" in meanings.tell_order(
        "detect", (4, 8, 16, 32)
    )
    assert "stride 8 first, then 16, then 32;" in meanings.tell_order("detect", STRIDES)
