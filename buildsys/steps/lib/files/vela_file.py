"""Read the NPU data of a file compiled by Vela, with the standard library."""

from buildsys.steps.lib.files.flatbuffer import FlatBuffer

OPERATOR = "ethos-u"
_CUSTOM_CODE = 1
"""Field of the schema's OperatorCode."""
_WEIGHTS = 1
"""Index of the weights among the inputs of the NPU's operator: command stream, weights, scratch,
fast scratch, tensors.
"""


def weights_bytes(content: bytes) -> int:
    """Return the size of all weights for the NPU in bytes, as packed by Vela; 0 without an NPU
    operator. The file must have been checked (demand_tflite).
    """
    file = FlatBuffer(content)
    model = file.number(0, "I")
    codes = [_custom(file, code) for code in file.tables(file.field(model, 1))]
    graph = file.tables(file.field(model, 2))[0]
    tensors, buffers = file.tables(file.field(graph, 0)), file.tables(file.field(model, 4))
    wanted = set()
    for operator in file.tables(file.field(graph, 3)):
        place = file.field(operator, 0)
        if codes[file.number(place, "I") if place else 0] == OPERATOR:
            wanted.add(file.integers(file.field(operator, 1))[_WEIGHTS])
    places = (file.field(tensors[index], 2) for index in wanted)
    used = {file.number(place, "I") if place else 0 for place in places}
    return sum(file.vector(file.field(buffers[index], 0), 1)[1] for index in used)


def _custom(file: FlatBuffer, code: int) -> str:
    start, count = file.vector(file.field(code, _CUSTOM_CODE), 1)
    return file.data[start : start + count].decode(errors="replace")
