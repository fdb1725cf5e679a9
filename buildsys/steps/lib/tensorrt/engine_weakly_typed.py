"""Precision flags and calibration, which only TensorRT 8.6 to 10 have. Shipped as
`engine_weakly_typed.py`.

UNVERIFIED on a GPU: no engine has been built with it. NVIDIA's Python bindings of 8.6 to 10.16,
and a stand-in that counts calls, accept every call (tests/tools/test_bindings.py). TensorRT 11 has
removed these functions.
"""

from __future__ import annotations

from typing import Any


def set_precision(trt: Any, config: Any, scheme: str, half: bool) -> None:
    """Allow kernels of this precision in addition to float32; `half`: also float16."""
    if scheme == "int8":
        config.set_flag(trt.BuilderFlag.INT8)
    if scheme == "float16" or half:
        config.set_flag(trt.BuilderFlag.FP16)


def set_calibrator(trt: Any, config: Any, calibration: Any, profile: Any) -> Any:
    """Set and return a calibrator that uses `calibration`, an engine_calibration.Calibration; the
    caller must keep it during the build. `profile`: the shape of a batch if the network's is
    dynamic, otherwise None.
    """
    if profile is not None and not config.set_calibration_profile(profile):
        raise ValueError("TensorRT does not take the batch of the calibration")

    class Calibrator(trt.IInt8EntropyCalibrator2):  # type: ignore[misc]
        def __init__(self) -> None:
            trt.IInt8EntropyCalibrator2.__init__(self)

        def get_batch_size(self) -> int:
            return int(calibration.batch_size)

        def get_batch(self, names: list[str]) -> list[int] | None:
            address = calibration.next_batch()
            return None if address is None else [address]

        def read_calibration_cache(self) -> bytes | None:
            known: bytes | None = calibration.known
            return known

        def write_calibration_cache(self, data: Any) -> None:
            calibration.write(data)

    calibrator = Calibrator()
    config.int8_calibrator = calibrator
    return calibrator
