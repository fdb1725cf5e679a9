"""Finding the file for a path of another machine, or for a URL."""

import pytest

from buildsys.steps.lib.datasets.base_names import base_name, index


@pytest.mark.parametrize(
    ("written", "name"),
    [
        ("a.jpg", "a.jpg"),
        ("images\\1/ab-a.jpg", "ab-a.jpg"),
        ("C:\\my data\\a.jpg", "a.jpg"),
        ("/data/local-files/?d=day%201/a%20b.jpg", "a b.jpg"),
        ("/data/upload/1/ab-a.jpg", "ab-a.jpg"),
        ("https://example.org/x/a%20b.jpg?sig=c/d.png", "a b.jpg"),
        ("/data/day?1/50%20off.jpg", "50%20off.jpg"),
        ("/data/set#1/a#b.jpg", "a#b.jpg"),
        ("s3://bucket/day/a.jpg", "a.jpg"),
        ("50%20off.jpg", "50%20off.jpg"),
        ("https://example.org/", ""),
    ],
)
def test_base_name(written: str, name: str) -> None:
    """The base name of a path or URL; only URLs are decoded, since a file may be named
    `50%20off.jpg`.
    """
    assert base_name(written) == name


def test_files_by_name() -> None:
    """Several files with one name are all listed, in order."""
    assert index({"b/a.jpg", "a.jpg", "c.jpg"}) == {
        "a.jpg": ["a.jpg", "b/a.jpg"],
        "c.jpg": ["c.jpg"],
    }
