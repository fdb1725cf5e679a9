"""The advice on values that a lower precision loses."""

import pytest

from buildsys.steps.lib.parity.output_figures import head_cure


@pytest.mark.parametrize("head", ["raw", "split", "yolox-split"])
def test_more_digits_are_advised_where_a_target_has_them(head: str) -> None:
    """Some targets have a pipeline for int8 alone."""
    assert "if the target has a pipeline for that (`scheme: int16x8` or float16)" in head_cure(head)
