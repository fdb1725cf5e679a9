"""Run the network of this package: an image in, detections out.

It reads the other files of this folder, and uses LiteRT and NumPy.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pictures import Failure

if TYPE_CHECKING:
    import numpy as np
    import vision

HERE = Path(__file__).resolve().parent
DECODED = ("detect", "pose", "classify")
"""Tasks whose outputs are decoded."""


class Model:
    """The network of this package, opened in LiteRT."""

    def __init__(self, threads: int) -> None:
        """Open the network. Raises Failure if the package is incomplete or LiteRT cannot run it."""
        self.facts: dict[str, Any] = _read_json("model.json")
        self.path = HERE / self.facts["file"]
        self.sha256 = _demand_file(self.path, self.facts["sha256"])
        self.interpreter = _open(self.path, threads)
        (self.input,) = self.interpreter.get_input_details()
        self.outputs = dict(self._named_outputs())

    def _named_outputs(self) -> list[tuple[str, dict[str, Any]]]:
        """Return the outputs by name; model.json lists them in file order."""
        details, declared = self.interpreter.get_output_details(), self.facts["outputs"]
        if len(details) != len(declared):
            raise Failure(f"{self.path.name} has {len(details)} outputs, not {len(declared)}", 3)
        return [(tensor["name"], details[place]) for place, tensor in enumerate(declared)]

    def demand_task(self) -> None:
        """Raises Failure for a network whose outputs this program cannot decode."""
        task, head = self.facts["task"], self.facts["head"]
        if self.facts["preprocessing"] is None or head == "none":
            raise Failure(
                "the recipe does not describe this model's input or its outputs:"
                " benchmark.py can run it, detect.py cannot",
                3,
            )
        if task not in DECODED:
            raise Failure(f"this network is for {task}; detect.py decodes {', '.join(DECODED)}", 3)

    def run(self, pixels: np.ndarray) -> dict[str, np.ndarray]:
        """Run an image in the frame, uint8 [height, width, 3]; returns real values by output name."""
        import numpy as np

        values = pixels[None].astype(np.float32) / 255
        dtype, (scale, zero) = np.dtype(self.input["dtype"]), self.input["quantization"]
        if dtype.kind != "f":
            limits = np.iinfo(dtype)
            values = np.clip(np.rint(values / scale) + zero, limits.min, limits.max)
        self.interpreter.set_tensor(self.input["index"], values.astype(dtype))
        self.interpreter.invoke()
        return {name: self._real(detail) for name, detail in self.outputs.items()}

    def _real(self, detail: dict[str, Any]) -> np.ndarray:
        import numpy as np

        values = self.interpreter.get_tensor(detail["index"]).astype(np.float32)
        scale, zero = detail["quantization"]
        return (values - zero) * np.float32(scale) if scale else values

    def see(self, photo: np.ndarray, confidence: float, iou: float) -> list[vision.Found]:
        """Return the detections on an image, uint8 [h, w, 3] RGB, best first."""
        import vision

        frame, facts = self.facts["preprocessing"], self.facts
        height, width = frame["height"], frame["width"]
        placed = vision.place(photo, height, width, frame["resize"])
        outputs = self.run(placed.pixels)
        if facts["task"] == "classify":
            return vision.classify(outputs, facts["head"], confidence)
        try:
            decoded = vision.decode(outputs, facts, height, width)
        except (KeyError, ValueError) as error:
            shapes = ", ".join(f"{name} {list(value.shape)}" for name, value in outputs.items())
            message = f"the outputs are {shapes}: not the outputs of the head `{facts['head']}`"
            raise Failure(message, 3) from error
        return vision.choose(decoded, placed, confidence, iou, vision.is_one_to_one(facts))


def _read_json(name: str) -> Any:
    try:
        return json.loads((HERE / name).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise Failure(f"{name} is missing: copy the whole package", 3) from None
    except ValueError as error:
        raise Failure(f"{name} is damaged ({error}): copy the package again", 3) from error


def _demand_file(path: Path, sha256: str) -> str:
    try:
        found = hashlib.sha256(path.read_bytes()).hexdigest()
    except FileNotFoundError:
        raise Failure(f"{path.name} is missing: copy the whole package", 3) from None
    if found != sha256:
        raise Failure(
            f"{path.name} is not the file of this package (sha256 {found[:12]}, not {sha256[:12]}):"
            " copy the package again; build a package for another model",
            3,
        )
    return found


def _open(path: Path, threads: int) -> Any:
    from ai_edge_litert.interpreter import Interpreter

    try:
        interpreter = Interpreter(model_path=str(path), num_threads=threads)
        interpreter.allocate_tensors()
    except (RuntimeError, ValueError) as error:
        reason = " ".join(str(error).split())[:300]
        raise Failure(f"LiteRT cannot run {path.name}: {reason}", 3) from error
    return interpreter
