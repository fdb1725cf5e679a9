"""torch without torchvision: its stand-in is removed afterwards."""

import importlib
import sys
from types import ModuleType

import pytest

from buildsys.steps.lib.runtime.torch_light import without_torchvision


def test_an_empty_torchvision_is_set_up_and_gone_afterwards() -> None:
    """The empty torchvision is removed afterwards, so that later imports find the real one."""
    with without_torchvision():
        extension = importlib.import_module("torchvision.extension")
        assert sys.modules["torchvision"].extension is extension
        assert not hasattr(extension, "_has_ops")
    assert not {"torchvision", "torchvision.extension"} & sys.modules.keys()


def test_a_torchvision_that_is_here_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    """A torchvision that was already imported stays."""
    real = ModuleType("torchvision")
    monkeypatch.setitem(sys.modules, "torchvision", real)
    with without_torchvision():
        assert sys.modules["torchvision"] is real
    assert sys.modules["torchvision"] is real
