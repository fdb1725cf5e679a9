"""Run TFLite files with LiteRT and return their stored values: integers, in file order."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from buildsys.steps.lib.files import tflite
from buildsys.steps.lib.networks import litert
from buildsys.steps.lib.parity.recording_files import Output


class Raw:
    """An opened TFLite file; outputs are unchanged, in file order. `names`: names of its outputs,
    the signature's if there is one.
    """

    def __init__(self, path: Path, reference_kernels: bool = False) -> None:
        self._path = path
        self.names = [tensor.name for tensor in tflite.read(path).outputs]
        self._interpreter = litert.open_interpreter(path, reference_kernels)
        self._input = self._interpreter.get_input_details()[0]
        self._outputs = self._interpreter.get_output_details()

    def answer(self, picture: Any, names: list[str]) -> Iterator[Output]:
        """Run the file on an image uint8 [h, w, 3]; yields outputs named `names`, in file order,
        with the batch axis.
        """
        import numpy as np

        values = litert.fill(self._path, self._input, picture)
        self._interpreter.set_tensor(self._input["index"], values)
        self._interpreter.invoke()
        for name, detail in zip(names, self._outputs, strict=True):
            scale, zero = detail["quantization"]
            integers = np.dtype(detail["dtype"]).kind != "f" and scale != 0
            yield Output(
                name=name,
                values=self._interpreter.get_tensor(detail["index"]),
                scale=float(scale) if integers else None,
                zero_point=int(zero) if integers else None,
            )
