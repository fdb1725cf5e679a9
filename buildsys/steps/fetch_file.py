"""Download a file and check it against the digest in the recipe.

It is the only step that uses the network.
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


@dataclass(frozen=True, kw_only=True)
class Params:
    """The file's URL and its expected digest."""

    url: str
    sha256: str


def run(inputs: dict[str, Path], outputs: dict[str, Path], params: Params) -> None:
    """Download with progress; a file with another digest is not kept."""
    from buildsys.steps.lib.files.download import DownloadError, download

    (target,) = outputs.values()
    state = hashlib.sha256()

    def keep(piece: bytes) -> None:
        state.update(piece)
        out.write(piece)

    def tell(done: int, total: int) -> None:
        report(done / 1e6, max(total, done + 1) / 1e6, "MB")

    try:
        with target.open("wb") as out:
            download(params.url, keep, tell)
    except OSError as error:
        fail(f"{params.url} could not be kept: {error.strerror or error}.")
    except DownloadError as error:
        fail(f"{params.url} could not be fetched: {error}. Check the network, or give a `path`.")
    if state.hexdigest() != params.sha256:
        fail(
            f"{params.url} has sha256 {state.hexdigest()}, the recipe says {params.sha256}."
            " If the new file is the right one, write its digest into the recipe."
        )
