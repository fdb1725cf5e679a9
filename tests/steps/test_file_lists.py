"""The files of a dataset, by their paths from its root."""

from pathlib import Path

from buildsys.steps.lib.datasets.file_lists import list_files


def test_links_are_followed_but_never_in_circles(tmp_path: Path) -> None:
    """Data often lies behind a link; two links to the folder around them would never end."""
    (tmp_path / "away").mkdir()
    (tmp_path / "away" / "c.jpg").touch()
    root = tmp_path / "data"
    for name in ("a.jpg", ".hidden/x.jpg", "day/b.jpg"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    (root / "linked").symlink_to(tmp_path / "away")
    for name in ("one", "two", "day/three"):
        (root / name).symlink_to(root)
    (root / "gone").symlink_to(root / "nothing")
    assert list(list_files(root)) == ["a.jpg", "gone", "day/b.jpg", "linked/c.jpg"]
    assert list(list_files(root, "day")) == ["day/b.jpg"]
