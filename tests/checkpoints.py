"""Minimal checkpoint files without facts; the same bytes for the same text."""

import io
import pickle
import zipfile


def checkpoint_of(text: str) -> bytes:
    """An archive in the form of torch.save with a dictionary without tensors."""
    return archive_of(pickle.dumps({"of": text}, protocol=2))


def archive_of(content: bytes, *others: tuple[str, bytes]) -> bytes:
    """An archive with the given pickle and further members."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name, data in (("archive/data.pkl", content), *others):
            archive.writestr(zipfile.ZipInfo(name, date_time=(2020, 1, 1, 0, 0, 0)), data)
    return stream.getvalue()
