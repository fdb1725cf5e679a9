"""Firmware contracts as data: formulas, layouts in any order, messages about mismatches."""

import contextlib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from buildsys.authoring.targets.contract import contract_spec
from buildsys.authoring.targets.target import read_contract
from buildsys.files import yaml_files
from buildsys.registry import shipped_targets
from buildsys.spec import ContractSpec
from buildsys.steps import check_contract
from buildsys.steps.lib.files.tflite import File, Tensor
from buildsys.steps.lib.firmware import ethos_u_driver
from buildsys.steps.lib.firmware.contract_layout import Found, match
from buildsys.steps.lib.heads.formulas import NAMES, dimensions, evaluate
from buildsys.steps.lib.heads.outputs import head_outputs
from tests.repetitions import repetitions

SHIPPED = yaml_files(shipped_targets() / "firmware")
DECODING = sorted(name for name, path in SHIPPED.items() if "\nhead:" in path.read_text())
"""The contracts of firmwares that decode a head; parsing them fully would slow test collection."""


def spec(name: str) -> ContractSpec:
    """A shipped contract as steps get it."""
    found = contract_spec(read_contract(SHIPPED[name], name)[0])
    assert found is not None
    return found


def tensors(name: str, classes: int, keypoints: int, head: str = "") -> tuple[Tensor, ...]:
    """The int8 outputs of a head, each with one scale."""
    contract, _ = read_contract(SHIPPED[name], name)
    outputs = head_outputs(head or contract.head or "", 192, 192, classes, keypoints, 3)
    return tuple(
        Tensor(name=o.name, shape=o.shape, dtype="int8", scales=(0.1,), zero_points=(0,))
        for o in outputs
    )


def picture(scale: float = 1 / 255, zero: int = -128, size: int = 192) -> Tensor:
    """The input tensor that the converters make."""
    shape = (1, size, size, 3)
    return Tensor(name="images", shape=shape, dtype="int8", scales=(scale,), zero_points=(zero,))


def judge(
    name: str, outputs: tuple[Tensor, ...], image: Tensor | None = None, classes: int = 0
) -> list[str]:
    """The failures of a file with these tensors."""
    file = File(inputs=(image or picture(),), outputs=outputs, operators=())
    params = check_contract.Params(
        contract=spec(name), height=192, width=192, classes=classes, keypoints=0
    )
    failures = check_contract.judge(file, params)["failures"]
    assert isinstance(failures, list)
    return failures


@pytest.mark.parametrize("name", sorted(SHIPPED))
def test_every_line_of_a_shipped_contract_has_a_source(name: str) -> None:
    """Every line of a shipped contract has a source."""
    contract, _ = read_contract(SHIPPED[name], name)
    assert contract.provenance()
    assert all(source for _, source, _ in contract.provenance())
    assert contract.verified or contract.notes, "why it is not verified"


@pytest.mark.parametrize("name", DECODING)
def test_the_head_that_a_contract_names_fits_it(name: str) -> None:
    """The head that a contract names fits the contract."""
    points = 17 if "pose" in name else 0
    classes = 1 if points else 3
    assert judge(name, tensors(name, classes, points)) == []
    assert judge(name, tensors(name, classes, points), classes=classes) == []


@pytest.mark.parametrize("name", DECODING)
@given(data=st.data())
@settings(max_examples=repetitions(30))
def test_order_is_no_fault(name: str, data: st.DataObject) -> None:
    """Outputs are recognized in any order and with any names."""
    points = 17 if "pose" in name else 0
    outputs = tensors(name, 1 if points else 3, points)
    found = [Found(name=f"x{i}", shape=tensor.shape) for i, tensor in enumerate(outputs)]
    order = data.draw(st.permutations(range(len(found))))
    layout = match(spec(name), tuple(found[i] for i in order), 192, 192, 0, 0)
    assert layout is not None
    assert layout.names == tuple(outputs[i].name for i in order)


def test_a_stock_output_is_refused_with_both_layouts() -> None:
    """A standard output is refused, and the message shows both layouts."""
    (failure,) = judge("himax-yolov8-od", tensors("himax-yolov8-od", 80, 0, "decoded"))
    assert failure.startswith(
        "firmware himax-yolov8-od (Himax tflm_yolov8_od on WE2) decodes other outputs than the file"
        " has: expected 2 outputs in this order: boxes int8 [1, 4, 756], scores int8 [1, 756, nc];"
        " actual 1 output: detections int8 [1, 84, 756]. To change: export the split head"
    )


@pytest.mark.parametrize(
    ("image", "outputs", "said"),
    [
        (
            picture(scale=0.007, zero=0),
            None,
            "the input's scale is 0.00700000 and its zero point 0",
        ),
        (picture(size=160), None, "the input is [1, 160, 160, 3]"),
        (None, {"dtype": "float32"}, "is float32; firmware sscma-1.0-world takes int8"),
        (None, {"scales": (0.1, 0.2), "zero_points": (0, 0)}, "has 2 scales"),
    ],
)
def test_what_a_file_has_that_the_firmware_cannot_read(
    image: Tensor | None, outputs: dict[str, object] | None, said: str
) -> None:
    """Each property of a file that the firmware cannot read is reported."""
    import dataclasses

    found = tensors("sscma-1.0-world", 3, 0)
    if outputs:
        found = tuple(dataclasses.replace(tensor, **outputs) for tensor in found)  # type: ignore[arg-type]
    assert any(said in failure for failure in judge("sscma-1.0-world", found, image))


@given(st.text(alphabet="HWNncK0123456789+-*/() hw", max_size=12))
def test_a_formula_is_a_number_or_a_sentence(text: str) -> None:
    """A formula gives a number or one sentence; nothing in it is executed."""
    with contextlib.suppress(ValueError):
        assert isinstance(evaluate(text, dimensions(64, 96, 3, 4, 3)), int)


@pytest.mark.parametrize("text", ["__import__('os')", "nc.real", "2**99999", "N if 1 else 2", "x"])
def test_a_formula_is_no_program(text: str) -> None:
    """Formulas such as `2**99999` and `__import__` are refused."""
    with pytest.raises(ValueError, match=r"formula|names"):
        evaluate(text, dict.fromkeys(NAMES, 1))


def payload(*words: int) -> bytes:
    """A driver payload: a fourcc, then words."""
    return b"COP1" + b"".join(word.to_bytes(4, "little") for word in words)


CONFIG = (0x00100001, 0x1006, 0x10060000)
GOOD = payload(*CONFIG, 5, 5, 5, 0x00020002, 0x0000010F, 0x0001011F)


@pytest.mark.parametrize(
    ("data", "accelerator", "said"),
    [
        (GOOD, "ethos-u55-64", ()),
        (GOOD, "ethos-u55-128", ("it is compiled for ethos-u55-64, the target has ethos-u55-128",)),
        (GOOD, "ethos-u65-64", ("it is compiled for ethos-u55-64, the target has ethos-u65-64",)),
        (b"COP2" + GOOD[4:], "ethos-u55-64", ("its fourcc is 'COP2'",)),
        (payload(*CONFIG, 5, 5, 0x00010002, 0x10F), "ethos-u55-64", ("begins at byte 28",)),
        (payload(*CONFIG), "ethos-u55-64", ("it holds no command stream",)),
        (
            payload(*CONFIG, 5, 5, 5, 0x00010002, 0x0004010F),
            "ethos-u55-64",
            ("its commands use base address 4",),
        ),
    ],
)
def test_what_the_driver_on_the_device_would_refuse(
    data: bytes, accelerator: str, said: tuple[str, ...]
) -> None:
    """A payload that the device's driver refuses, such as one for another NPU, is reported."""
    problems = ethos_u_driver.problems(ethos_u_driver.read(data), accelerator)
    assert len(problems) == len(said)
    assert all(text in problem for text, problem in zip(said, problems, strict=True))


@given(st.binary(max_size=64))
def test_a_damaged_payload_is_a_sentence(data: bytes) -> None:
    """A damaged payload gives one sentence."""
    with contextlib.suppress(ValueError):
        ethos_u_driver.problems(ethos_u_driver.read(data), "ethos-u55-64")


def test_contract_files_name_their_schema() -> None:
    """Contract files name their schema for editors."""
    for path in SHIPPED.values():
        assert "firmware.schema.json" in Path(path).read_text(encoding="utf-8").splitlines()[0]
