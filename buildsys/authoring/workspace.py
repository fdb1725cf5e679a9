"""buildsys.yaml: what a workspace says of itself: datasets by name, and where its store is."""

import os
from pathlib import Path
from typing import Annotated

from pydantic import Field, StrictStr

from buildsys.authoring.syntax.document import Document, parse_document, read_document
from buildsys.authoring.syntax.validation import Block, parse
from buildsys.authoring.syntax.values import NAME

FILE = "buildsys.yaml"


class WorkspaceFile(Block):
    """The whole file. A dataset here may lie anywhere on this machine."""

    datasets: dict[Annotated[StrictStr, Field(pattern=f"^{NAME}$")], dict[str, object]] = {}
    store: Annotated[StrictStr, Field(min_length=1)] | None = None


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
