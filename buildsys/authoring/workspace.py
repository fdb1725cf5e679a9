"""buildsys.yaml: what a workspace says of itself: datasets by name, where its store is, what it shares,
and which machines run its steps.
"""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    Field,
    StrictBool,
    StrictFloat,
    StrictInt,
    StrictStr,
    ValidationInfo,
    field_validator,
    model_validator,
)

from buildsys.authoring.syntax.document import Document, parse_document, read_document
from buildsys.authoring.syntax.validation import Block, parse
from buildsys.authoring.syntax.values import NAME
from buildsys.cluster_settings import (
    WAIT_SECONDS,
    check_address,
    check_partition,
    check_protection,
    check_wait,
    check_walltime,
    check_workers,
)
from buildsys.remote_settings import (
    Mode,
    check_endpoint,
    check_mode,
    check_place,
    check_public_key,
    check_url,
)

FILE = "buildsys.yaml"


def _checked(check: Callable[[Any], None]) -> AfterValidator:
    def validate(value: object) -> object:
        check(value)
        return value

    return AfterValidator(validate)


class RemoteBlock(Block):
    """The remote store that a team shares."""

    url: Annotated[StrictStr, _checked(check_url)]
    endpoint: Annotated[StrictStr, _checked(check_endpoint)] | None = None
    mode: Mode = "read"
    trusted: tuple[Annotated[StrictStr, _checked(check_public_key)], ...] = ()

    @field_validator("endpoint")
    @classmethod
    def _belongs(cls, value: str | None, info: ValidationInfo) -> str | None:
        check_place(info.data.get("url", "s3:"), value or "")
        return value

    @field_validator("mode")
    @classmethod
    def _can_be_written(cls, value: Mode, info: ValidationInfo) -> Mode:
        check_mode(info.data.get("url", ""), value)
        return value


class SlurmBlock(Block):
    """Workers that SLURM starts for a run."""

    partition: Annotated[StrictStr, _checked(check_partition)]
    workers: Annotated[StrictInt, _checked(check_workers)]
    walltime: Annotated[StrictStr, _checked(check_walltime)]


class ClusterBlock(Block):
    """The machines that run steps: those of a scheduler, or of SLURM."""

    ca: Annotated[StrictStr, Field(min_length=1)] | None = None
    insecure: StrictBool = False
    scheduler: Annotated[StrictStr, _checked(check_address)] | None = None
    slurm: SlurmBlock | None = None
    wait_seconds: Annotated[StrictInt | StrictFloat, _checked(check_wait)] = WAIT_SECONDS

    @field_validator("scheduler")
    @classmethod
    def _is_protected(cls, value: str | None, info: ValidationInfo) -> str | None:
        check_protection(value or "tcp://localhost:1", bool(info.data.get("insecure")))
        if value and value.startswith("tls:") and not info.data.get("ca"):
            raise ValueError("tls:// needs `ca`, the file that `buildsys scheduler --tls` made")
        return value

    @model_validator(mode="after")
    def _is_one(self) -> "ClusterBlock":
        if bool(self.scheduler) == (self.slurm is not None):
            raise ValueError("a cluster has a `scheduler`, or is `slurm`'s: one of the two")
        return self


class WorkspaceFile(Block):
    """The whole file. A dataset here may lie anywhere on this machine."""

    datasets: dict[Annotated[StrictStr, Field(pattern=f"^{NAME}$")], dict[str, object]] = {}
    store: Annotated[StrictStr, Field(min_length=1)] | None = None
    remote: RemoteBlock | None = None
    cluster: ClusterBlock | None = None


def read_workspace_file(
    workspace: Path, text: str | None = None
) -> tuple[WorkspaceFile, Document | None]:
    """What the file says, or would say with `text` in it; empty where there is none. Raises InputError."""
    if text is not None:
        document = parse_document(text, FILE)
    elif os.path.exists(workspace / FILE):
        document = read_document(workspace / FILE, FILE)
    else:
        return WorkspaceFile(), None
    if document.data is None:
        return WorkspaceFile(), document
    return parse(WorkspaceFile, document.data, (), document.diagnose), document
