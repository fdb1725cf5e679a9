"""Names of prepared images: on any machine, in the store and for trainers, whatever the source's are."""

import posixpath

from hypothesis import example, given
from hypothesis import strategies as st

from buildsys.names import check_names
from buildsys.steps.lib.datasets.prepared_names import choose_stems

Part = st.text(st.sampled_from("aAäÄ\u0308bB.:-\\\n\udc80\x85 é"), min_size=1, max_size=4).filter(
    lambda part: part not in (".", "..")
)
Names = st.lists(
    st.lists(Part, min_size=1, max_size=3).map(lambda parts: "/".join(parts) + ".jpg"),
    max_size=6,
    unique=True,
)


def test_plain_names_stay() -> None:
    """Names that every machine accepts are kept."""
    names = ("a.jpg", "b/c d.e.png", "Ü/x-1.jpg")
    assert choose_stems(names) == ("a", "b/c d.e", "Ü/x-1")


def test_names_of_one_file_system_get_names_for_all() -> None:
    """Case, hidden folders, backslashes, line breaks and long names need no renaming by hand."""
    names = ("a.jpg", "A.jpg", "Cam/1.jpg", "cam/2.jpg", ".raw/h.jpg", "a\\b.jpg", "a\nb.jpg")
    chosen = choose_stems(names)
    assert chosen == ("a", "A-jpg", "Cam/1", "Cam/2", "-raw/h", "a-b", "a-b-jpg")
    long = choose_stems((f"{'ü' * 125}.jpg", f"{'ü' * 125}.png"))
    assert [len(stem.encode()) for stem in long] == [200, 204]


def test_class_folders_stay() -> None:
    """The folder of a class is its name: two that differ in case stay two, which the store rejects."""
    names = ("Cat/.raw/1.jpg", "cat/1.jpg", "Cat/.RAW/2.jpg")
    assert choose_stems(names, left_out="", kept=1) == ("Cat/-raw/1", "cat/1", "Cat/-raw/2")


@given(Names)
@example(["a.jpg", "A-jpg.jpg", "A.jpg"])
@example(["A/a.jpg", "a/A.png", "a.jpg"])
def test_any_names_become_files_of_one_folder(names: list[str]) -> None:
    """The store accepts the images and labels of any source, each under a name of its own, and no
    trainer takes one for hidden.
    """
    chosen = choose_stems(names)
    assert len(chosen) == len(names)
    for ending in ("jpg", "txt"):
        check_names(f"images/{stem}.{ending}" for stem in chosen)
    assert not any(part.startswith(".") for stem in chosen for part in stem.split("/"))
    assert not any("images" in posixpath.dirname(stem).split("/") for stem in chosen)
