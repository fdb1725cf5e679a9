"""Differences between a source and its line in buildsys.lock."""

from dataclasses import replace

from buildsys.execution.state.lock_differences import compare_source
from buildsys.lockfile import Content
from buildsys.recorded_facts import RecordedDataset

A, B = "a" * 64, "b" * 64
FACTS = RecordedDataset(
    root=".",
    names=("tag",),
    keypoints=4,
    keypoint_dims=3,
    sigmas=(),
    splits=(("train", ("images/train",)),),
    parts=("images",),
    file="data.yaml",
)


def compare(
    recorded: RecordedDataset | None, found: RecordedDataset | None, digest: str = A
) -> str:
    """Compare with a line with digest A."""
    return compare_source("dataset x", Content(digest=A, facts=recorded), digest, found)


def test_bytes_and_facts_count() -> None:
    """Both digest and facts are compared."""
    assert compare(FACTS, FACTS) == ""
    assert compare(FACTS, None) == "", "a plan that needs no facts says nothing of them"
    assert compare(FACTS, FACTS, B) == (
        "dataset x: buildsys.lock records aaaaaaaaaaaa, but this workspace has bbbbbbbbbbbb"
    )
    other = replace(FACTS, names=("dog",), parts=())
    words = "dataset x: buildsys.lock differs in `names`, `parts` from this workspace"
    assert compare(FACTS, other) == words
    assert "what planning needs" in compare(None, FACTS)


def test_what_two_recipes_say_differently_of_one_line_is_no_difference() -> None:
    """Different facts of two recipes for the same source are not a difference."""
    coco = replace(FACTS, coco=(("train", "train.json", "images"),))
    assert compare(coco, replace(coco, keypoints=0, keypoint_dims=0)) == ""
    assert "`splits`" in compare(coco, replace(coco, splits=()))
    archived = replace(FACTS, archive=A)
    assert compare(archived, replace(archived, root="inner"), B) == ""
    assert compare(archived, replace(archived, parts=("inner",), names=("dog",)), B) == ""
    assert compare(archived, replace(archived, archive=B), B) != ""


def test_an_edited_line_of_one_part_of_an_archive_is_named() -> None:
    """An edited line for a part of an archive is reported."""
    archived = replace(FACTS, archive=A)
    assert "records aaaaaaaaaaaa" in compare(archived, archived, B)
    assert "`names`" in compare(archived, replace(archived, names=("dog",)))
    assert "`splits`" in compare(archived, replace(archived, splits=()))
