"""Find a file by a path of another machine or by a URL: by its name without folders.

Label Studio writes `images\\1/ab12-x.jpg` and `..\\..\\media\\upload\\4\\ab12-x.jpg` on Windows,
`/data/local-files/?d=day/x.jpg` for local files and `https://…/x.jpg` for images of a server;
beside the annotations that it exports is `images/ab12-x.jpg`.
"""

from collections.abc import Iterable
from urllib.parse import parse_qs, unquote, urlsplit

LINE = "match: base-name"
"""The line in a recipe's `dataset` block that finds images this way."""


_LOCAL_FILES = "/data/local-files/?d="
"""The prefix that Label Studio writes for a local file."""


def base_name(written: str) -> str:
    """Return the last part of a path of any operating system, or of a URL without its query."""
    text = written.strip()
    if "://" in text or text.startswith(_LOCAL_FILES):
        address = urlsplit(text)
        local = parse_qs(address.query).get("d", [""])[0]
        text = local or unquote(address.path)
    return text.replace("\\", "/").rstrip("/").rpartition("/")[-1]


def index(files: Iterable[str]) -> dict[str, list[str]]:
    """Return files by their names without folders; the files of each name are in order."""
    found: dict[str, list[str]] = {}
    for path in sorted(files):
        found.setdefault(path.rpartition("/")[-1], []).append(path)
    return found
