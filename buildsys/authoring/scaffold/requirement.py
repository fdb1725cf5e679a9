"""The line of requirements.txt that installs this copy of buildsys from its original place.

An installer records the place in `direct_url.json` (PEP 610); after an installation from an index
that file is missing.
"""

import json
import os
from importlib import metadata
from pathlib import Path

import buildsys

_NAME = "buildsys"


def own_requirement() -> str:
    """Return the line for the running copy: by its installer's record, or the folder of its
    source.
    """
    try:
        installed = metadata.distribution(_NAME)
    except metadata.PackageNotFoundError:
        return _of_folder(Path(buildsys.__file__).resolve().parent.parent)
    return requirement(installed.read_text("direct_url.json"), installed.version)


def requirement(direct_url: str | None, version: str) -> str:
    """Return the line for `direct_url`, the record's JSON or None; an unknown form counts as
    None.
    """
    try:
        found = json.loads(direct_url or "{}")
        url, folder = str(found.get("url") or ""), found.get("subdirectory")
        part = f"#subdirectory={folder}" if folder else ""
        if "vcs_info" in found:
            origin = found["vcs_info"]
            return f"{_NAME} @ {origin['vcs']}+{url}@{origin['commit_id']}{part}"
        if "archive_info" in found:
            return f"{_NAME} @ {url}{_digest(found['archive_info'], part)}"
        if "dir_info" in found:
            return (
                f"-e {url}{part}" if found["dir_info"].get("editable") else f"{_NAME} @ {url}{part}"
            )
    except (ValueError, AttributeError, KeyError, TypeError):
        pass
    return f"{_NAME}=={version}"


def is_of_this_machine(line: str) -> bool:
    """Return whether a requirement names a folder or file on this machine."""
    return "file://" in line


def _digest(archive: dict[str, object], part: str) -> str:
    """Return the URL fragment with the archive's digest, if the installer recorded one."""
    hashes = archive.get("hashes")
    digest = hashes.get("sha256") if isinstance(hashes, dict) else None
    if digest is None:
        return part
    return f"{part}&sha256={digest}" if part else f"#sha256={digest}"


def _of_folder(folder: Path) -> str:
    """Return the line for a source tree that is on the path without being installed; else the
    version.
    """
    if os.path.isfile(folder / "pyproject.toml"):
        return f"-e {folder.as_uri()}"
    return f"{_NAME}=={buildsys.__version__}"
