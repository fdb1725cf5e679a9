"""Find how coarsely a TFLite file rounds its outputs."""

from pathlib import Path

from buildsys.steps.lib.files.rounding import passed_tensors
from buildsys.steps.lib.files.tflite import (
    UNCHANGING,
    operator_name,
    read_tensor,
)
from buildsys.steps.lib.files.tflite_bounds import (
    OPERATORS,
    OUTPUTS,
    SUBGRAPHS,
    TENSORS,
    demanded,
)


def read_steps(path: Path) -> tuple[float, ...]:
    """Return the step to whose multiples each output is rounded; 0 if it is not."""
    with demanded(path) as (flat, model):
        graph = flat.tables(flat.field(model, SUBGRAPHS))[0]
        tensors = flat.tables(flat.field(graph, TENSORS))
        made: dict[int, tuple[str, int]] = {}
        for operator in flat.tables(flat.field(graph, OPERATORS)):
            takes = flat.integers(flat.field(operator, 1))
            for index in flat.integers(flat.field(operator, 2)):
                made[index] = (operator_name(flat, model, operator), takes[0] if takes else -1)
        steps = []
        for output in flat.integers(flat.field(graph, OUTPUTS)):
            passed = passed_tensors(output, made, UNCHANGING)
            found = (read_tensor(flat, tensors, index, {}) for index in passed if index >= 0)
            steps.append(
                next(
                    (max(each.scales) for each in found if each.scales and "int" in each.dtype), 0.0
                )
            )
    return tuple(steps)
