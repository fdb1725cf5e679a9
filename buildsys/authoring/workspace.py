"""buildsys.yaml: a workspace's datasets by name, its store, its remote store, and its cluster."""

import os
from pathlib import Path
from typing import Annotated, ClassVar

from pydantic import Field, StrictBool, StrictFloat, StrictInt, StrictStr, model_validator

from buildsys.authoring.syntax.document import Document, parse_document, read_document
from buildsys.authoring.syntax.validation import Block, parse
from buildsys.authoring.syntax.values import NAME
from buildsys.cluster_settings import WAIT_SECONDS, ClusterSettings, SlurmSettings, check_file
from buildsys.remote_settings import MODE_MOVED, RemotePlace

FILE = "buildsys.yaml"


class RemoteBlock(Block):
    """The remote store that a team shares."""

    ELSEWHERE: ClassVar[dict[str, str]] = {"mode": MODE_MOVED}

    url: StrictStr
    endpoint: StrictStr = ""
    trusted: tuple[StrictStr, ...] = ()

    @model_validator(mode="after")
    def _check(self) -> "RemoteBlock":
        RemotePlace(url=self.url, endpoint=self.endpoint, trusted=self.trusted)
        return self


class SlurmBlock(Block):
    """Workers that SLURM starts for a run."""

    partition: StrictStr
    workers: StrictInt
    walltime: StrictStr

    @model_validator(mode="after")
    def _check(self) -> "SlurmBlock":
        self.settings()
        return self

    def settings(self) -> SlurmSettings:
        """Return its values. Raises Mismatch."""
        return SlurmSettings(partition=self.partition, workers=self.workers, walltime=self.walltime)


class ClusterBlock(Block):
    """The machines that run steps: those of a scheduler, or of SLURM."""

    ca: StrictStr = ""
    insecure: StrictBool = False
    scheduler: StrictStr = ""
    slurm: SlurmBlock | None = None
    wait_seconds: StrictInt | StrictFloat = WAIT_SECONDS

    @model_validator(mode="after")
    def _check(self) -> "ClusterBlock":
        check_file(
            ClusterSettings(
                scheduler=self.scheduler,
                ca=self.ca,
                insecure=self.insecure,
                wait_seconds=self.wait_seconds,
                slurm=self.slurm.settings() if self.slurm else None,
            )
        )
        return self


class WorkspaceFile(Block):
    """The whole file; a dataset here may be anywhere on this machine."""

    datasets: dict[Annotated[StrictStr, Field(pattern=f"^{NAME}$")], dict[str, object]] = {}
    store: Annotated[StrictStr, Field(min_length=1)] | None = None
    remote: RemoteBlock | None = None
    cluster: ClusterBlock | None = None


def read_workspace_file(
    workspace: Path, text: str | None = None
) -> tuple[WorkspaceFile, Document | None]:
    """Return the file's values, or those of `text` in its place; empty without a file.

    Raises InputError.
    """
    if text is not None:
        document = parse_document(text, FILE)
    elif os.path.exists(workspace / FILE):
        document = read_document(workspace / FILE, FILE)
    else:
        return WorkspaceFile(), None
    if document.data is None:
        return WorkspaceFile(), document
    return parse(WorkspaceFile, document.data, (), document.diagnose), document
