"""A remote file -> a local one, checked against the digest that the recipe pins.

The only step that reaches the network; it runs before anything that needs the file.
"""

import hashlib
from dataclasses import dataclass
from pathlib import Path

from buildsys.spec import Format, StepSpec
from buildsys.steps.lib.runtime.progress import fail, report

STEP = StepSpec(
    produces=Format.CHECKPOINT,
    block="source.weights",
    fetches=True,
)
_CHUNK = 1 << 18


@dataclass(frozen=True, kw_only=True)
class Params:
    """Where the file is and what it must be."""

    url: str
    sha256: str


def run(inputs: dict[str, Path], outputs: dict[str, Path], params: Params) -> None:
    """Download with progress; nothing is kept of a file with another digest."""
    import http.client
    import urllib.error
    import urllib.request

    (target,) = outputs.values()
    state = hashlib.sha256()
    try:
        with urllib.request.urlopen(params.url, timeout=60) as response, target.open("wb") as out:
            total = int(response.headers.get("Content-Length") or 0)
            while chunk := response.read(_CHUNK):
                out.write(chunk)
                state.update(chunk)
                report(out.tell() / 1e6, max(total, out.tell() + 1) / 1e6, "MB")
    except (http.client.HTTPException, urllib.error.URLError, OSError, ValueError) as error:
        fail(f"{params.url} could not be fetched: {error}. Check the network, or give a `path`.")
    if state.hexdigest() != params.sha256:
        fail(
            f"{params.url} has sha256 {state.hexdigest()}, the recipe says {params.sha256}."
            " If the new file is the right one, write its digest into the recipe."
        )
