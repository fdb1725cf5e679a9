"""The choice of a worker for a step, by resources and labels."""

import pytest

from buildsys.errors import InputError
from buildsys.execution.cluster.placement import (
    ANY,
    GPU,
    MEMORY,
    THREADS,
    Place,
    check_label,
    fits,
    label_of,
    library_labels,
    needs_of,
    request,
)
from buildsys.graph import Step
from tests.sample_steps import changed, make_step

HERE = "linux-x86_64"
STEP = changed(make_step("train"), memory_mib=4000, threads=4, tool_env="ultralytics")
HAS = {THREADS: 8, MEMORY: 8000, GPU: 0, f"machine-{HERE}": ANY, "env-ultralytics": ANY}


def place(name: str = "w0", **has: int) -> Place:
    """A worker; `has` overrides values of `HAS`."""
    return Place(name=name, address=f"tcp://{name}:1", has=HAS | has)


def needed(step: Step) -> dict[str, int]:
    """The resources of a step, asserted to exist."""
    found = needs_of(step, HERE)
    assert found is not None
    return dict(found)


def test_a_step_goes_where_its_environment_can_be_made_on_the_same_kind_of_machine() -> None:
    """A step runs on the same kind of machine, so that the bytes are the same as here."""
    needs = needed(STEP)
    assert fits(needs, HAS)
    assert not fits(needs, HAS | {"env-ultralytics": 0})
    assert not fits(needs, HAS | {f"machine-{HERE}": 0, "machine-linux-aarch64": ANY})


@pytest.mark.parametrize("field", ["local", "fetches"])
def test_what_is_of_this_machine_stays_here(field: str) -> None:
    """Latency measurements and downloads stay on this machine."""
    assert needs_of(changed(STEP, **{field: True}), HERE) is None


def test_what_is_larger_than_every_worker_runs_alone_on_the_largest() -> None:
    """A step that is larger than every worker runs alone on the largest one."""
    asked = request(STEP, needed(STEP), [place("a", threads=2), place("b", threads=3)])
    assert (asked[THREADS], asked[MEMORY]) == (3, 4000)


def test_a_gpu_is_taken_where_there_is_one() -> None:
    """`device: cuda` waits for a GPU; `auto` runs without one if there is none."""
    step = changed(STEP, gpu=True)
    assert GPU not in request(step, needed(step), [place()])
    assert request(step, needed(step), [place(), place("b", gpu=2)])[GPU] == 1
    forced = changed(step, device="cuda")
    assert not fits(needed(forced), HAS)
    assert fits(needed(forced), HAS | {GPU: 1})


@pytest.mark.parametrize(
    ("requires", "version", "capability", "fitting"),
    [
        ("tensorrt 10.3 8.7", "10.3.0.30", "8.7", True),
        ("tensorrt 10.3 8.7", "10.30.0", "8.7", False),
        ("tensorrt 10.3 8.7", "10.3.0", "8.0", False),
        ("tensorrt 10.3.0.30 8.7", "10.3.0.30", "8.7", True),
        ("tensorrt 10.3 any", "10.3.0", "8.6", True),
        ("tensorrt 10.3 any", "10.3.0", "7.5", False),
    ],
)
def test_an_engine_goes_to_its_library_and_gpu(
    requires: str, version: str, capability: str, fitting: bool
) -> None:
    """An engine is built by a worker with its library and GPU, on any kind of machine."""
    needs = needed(changed(STEP, requires=requires))
    labels = dict.fromkeys(library_labels("tensorrt", version, capability), ANY)
    other = {f"machine-{HERE}": 0, "machine-linux-aarch64": ANY}
    assert fits(needs, HAS | other | labels) == fitting


def test_an_engine_for_the_machine_that_plans_stays_here() -> None:
    """An engine for `local` is built on the planning machine."""
    assert label_of("tensorrt local local") == ""
    assert needs_of(changed(STEP, requires="tensorrt local local"), HERE) is None


@pytest.mark.parametrize("text", ["", "two words", "a,b", "threads", "gpu", "x" * 101, "-a", "ä"])
def test_a_label_is_a_word_and_no_amount(text: str) -> None:
    """A label that dask would interpret is rejected."""
    with pytest.raises(InputError):
        check_label(text)
    assert check_label("tensorrt-10.3-sm87") == "tensorrt-10.3-sm87"
