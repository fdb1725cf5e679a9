"""Finds the cluster that a workspace's steps run on, if any.

dask runs what a scheduler sends, so the choice of the scheduler decides which code runs here.
buildsys.yaml may come with a pull request: its cluster is used only if the user has put the
certificate of that cluster into the user's configuration folder. Only environment variables may
name a cluster without TLS or a certificate elsewhere.
"""

import os
from dataclasses import replace
from pathlib import Path

from buildsys.cluster_settings import CA_VARIABLE, VARIABLE, ClusterSettings
from buildsys.errors import BuildsysError, InputError, shorten
from buildsys.execution.places import Workspace, config_root
from buildsys.execution.settings.stores import is_inside
from buildsys.execution.settings.workspace_file import FILE, configured_places


def find_cluster(workspace: Workspace) -> ClusterSettings | None:
    """Return the cluster that BUILDSYS_CLUSTER or else buildsys.yaml names.

    Returns None for `none` or neither. BUILDSYS_CLUSTER is the address of a scheduler.
    BUILDSYS_CLUSTER_CA, the file with its certificate, takes precedence over `ca` in buildsys.yaml;
    only buildsys.yaml can allow a cluster without a certificate. Raises BuildsysError for an
    invalid variable, InputError for the file.
    """
    place, certificate = os.environ.get(VARIABLE, ""), os.environ.get(CA_VARIABLE, "")
    if place == "none":
        return None
    found = configured_places(workspace).cluster
    if not place:
        if found is None or not (found.scheduler or found.slurm):
            return None
        return replace(found, ca=certificate) if certificate and found.scheduler else found
    try:
        if found is None:
            return ClusterSettings(scheduler=place, ca=certificate)
        return replace(found, scheduler=place, slurm=None, ca=certificate or found.ca)
    except ValueError as error:
        raise BuildsysError(f"{VARIABLE} is `{shorten(place)}`: {error}") from error


def find_certificate(workspace: Workspace, settings: ClusterSettings) -> Path | None:
    """Return the file with a cluster's certificate; a relative path starts in the configuration
    folder.

    Raises InputError for a file in the repository, where a commit could replace it.
    """
    if not settings.ca:
        return None
    found = config_root() / os.path.expanduser(settings.ca)
    if is_inside(found, workspace):
        raise InputError.at(
            certificate_source(),
            f"the certificate {found} is in the repository, where a commit could replace it",
            f"move it to {config_root()}, and write its name: `ca: {found.name}`",
        )
    return found


def certificate_source() -> str:
    """Return what names the certificate, for messages: an environment variable or the file."""
    return CA_VARIABLE if os.environ.get(CA_VARIABLE) else FILE
