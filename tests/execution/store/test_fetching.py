"""Files leave the store as copies, a dataset's images as links to verified blobs."""

from functools import partial
from pathlib import Path

import pytest

from buildsys.execution.store.store import Store


def test_images_are_links_and_the_rest_are_copies(tmp_path: Path) -> None:
    """Images are linked, other files are copied."""
    store = Store(tmp_path / "store")
    (tmp_path / "made" / "images").mkdir(parents=True)
    (tmp_path / "made" / "images" / "a.JPG").write_bytes(b"an image")
    (tmp_path / "made" / "data.yaml").write_bytes(b"names: [box]")
    digest = store.put_tree(tmp_path / "made")
    target = tmp_path / "input"
    store.fetch(digest, target, tree=True, linked=frozenset({".jpg"}))
    image = target / "images" / "a.JPG"
    assert image.is_symlink()
    assert image.read_bytes() == b"an image"
    assert not (target / "data.yaml").is_symlink()
    assert store.put_tree(target) == digest


def test_a_damaged_image_is_not_linked(tmp_path: Path) -> None:
    """A damaged image is not linked; its step runs again."""
    store = Store(tmp_path / "store")
    (tmp_path / "made").mkdir()
    (tmp_path / "made" / "a.jpg").write_bytes(b"an image")
    digest = store.put_tree(tmp_path / "made")
    ((_, _, blob),) = store.index(digest)
    store.blob(blob).chmod(0o644)
    store.blob(blob).write_bytes(b"another!")
    with pytest.raises(FileNotFoundError, match="was damaged"):
        store.fetch(digest, tmp_path / "input", tree=True, linked=frozenset({".jpg"}))
    assert not store.has(digest, tree=True)


def test_a_damaged_blob_is_replaced_by_whole_bytes(tmp_path: Path) -> None:
    """A step that runs again replaces all its damaged outputs."""
    store, file = Store(tmp_path / "store"), tmp_path / "curves.json"
    file.write_bytes(b"curves")
    digest = store.put_file(file)
    for put in (partial(store.put_file, file), partial(store.put_bytes, b"curves")):
        store.blob(digest).chmod(0o644)
        store.blob(digest).write_bytes(b"cursed")
        assert put() == digest
        assert store.read(digest) == b"curves"
