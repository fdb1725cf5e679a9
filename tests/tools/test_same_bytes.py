"""What libraries compute differently by the CPU is the same on this one and on an emulated one.

`.ci/run` compares trainings and conversions: `benchmarks/same_bytes.py`.
"""

import shutil
import subprocess
from pathlib import Path

import pytest

from benchmarks.same_bytes import EMULATOR
from buildsys.execution.tools import environments
from tests.conftest import REPOSITORY
from tests.tools.places import tool_environment

pytestmark = [
    pytest.mark.tools,
    pytest.mark.skipif(
        shutil.which(EMULATOR) is None,
        reason=f"{EMULATOR} is not installed (Debian: qemu-user): no other CPU can be emulated here",
    ),
]

SOFTMAX = """\
import sys
from pathlib import Path
import numpy as np
import onnx
from onnx import TensorProto, helper

sys.path.insert(0, sys.argv[1])
from buildsys.steps.lib.networks import onnx_session

nodes = [
    helper.make_node("Softmax", ["images"], ["rows"], axis=-1),
    helper.make_node("LogSoftmax", ["images"], ["columns"], axis=2),
]
images = helper.make_tensor_value_info("images", TensorProto.FLOAT, [1, 3, 36, 77])
outputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in ("rows", "columns")]
graph = helper.make_graph(nodes, "attention", [images], outputs)
path = Path(sys.argv[2])
onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
picture = np.random.default_rng(0).integers(0, 256, (36, 77, 3), np.uint8)
answers = onnx_session.network(path)(picture)
values = picture.transpose(2, 0, 1)[None] / np.float32(255)
exact = np.exp(values) / np.exp(values).sum(-1, keepdims=True)
assert np.allclose(answers["rows"], exact, rtol=1e-5)
print({name: value.tobytes().hex() for name, value in answers.items()})
"""


def test_a_softmax_of_any_width_is_the_same_under_another_cpu(tmp_path: Path) -> None:
    """A softmax of 77 and of 36 values is equal; onnxruntime's own kernels round both differently
    with AVX-512.
    """
    _, python = environments.ensure("evaluate", print)
    environment = tool_environment(python)
    answers = []
    for number, emulator in enumerate(((), (EMULATOR, "-cpu", "Haswell"))):
        program = (python, "-c", SOFTMAX, REPOSITORY, tmp_path / f"{number}.onnx")
        done = subprocess.run(
            [str(part) for part in (*emulator, *program)],
            env=environment,
            capture_output=True,
            text=True,
            check=True,
        )
        answers.append(done.stdout)
    assert answers[0] == answers[1]
    assert len(answers[0]) > 2 * 4 * 3 * 36 * 77
