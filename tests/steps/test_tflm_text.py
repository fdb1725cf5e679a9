"""Reading TFLite Micro's output on this machine."""

from buildsys.steps.record_tflm import explain, read_allocations

ALLOCATIONS = """\
[RecordingMicroAllocator] Arena allocation total 537616 bytes
[RecordingMicroAllocator] Arena allocation head 448576 bytes
[RecordingMicroAllocator] Arena allocation tail 89040 bytes
[RecordingMicroAllocator] 'TfLiteEvalTensor data' used 10272 bytes with alignment overhead
"""


def test_the_arena_is_read_with_its_two_ends() -> None:
    """The arena is read from the recording allocator's output."""
    assert read_allocations(ALLOCATIONS) == {
        "arena_bytes": 537616,
        "head_bytes": 448576,
        "tail_bytes": 89040,
    }
    assert read_allocations("") == {}


def test_an_operator_is_named() -> None:
    """A missing operator is named, built-in or custom."""
    text = "Didn't find op for builtin opcode 'GELU'\nFailed to get registration from op code {}\n "
    assert explain(text.format("GELU"), ()) == "it has no operator GELU"
    assert explain(text.format("CUSTOM"), ("Mine",)) == "it has no operator Mine"


def test_an_arena_without_end_is_reported_as_such() -> None:
    """An arena above 1 GiB is reported as such."""
    text = "Failed to resize buffer. Requested: 448576, available 42880, missing: 405696\n"
    assert explain(text, ()) == "the model takes more than 1024 MiB of tensor arena"


def test_other_words_are_handed_on() -> None:
    """Other output is passed on."""
    assert explain("Type FLOAT16 (10) not supported.\n\n", ()) == "Type FLOAT16 (10) not supported."
    assert explain("", ()) == "it printed no reason"
