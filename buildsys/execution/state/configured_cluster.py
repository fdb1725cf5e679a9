"""Which cluster a workspace's steps run on, if any.

dask runs what a scheduler sends: whoever chooses the scheduler may run code here. buildsys.yaml may come
with a pull request, so what it names counts only where a person has put the certificate of that cluster
into the folder of settings; one without TLS, and a certificate elsewhere, only variables name.
"""

import os
from dataclasses import replace
from pathlib import Path

from buildsys.cluster_settings import CA_VARIABLE, VARIABLE, ClusterSettings
from buildsys.errors import BuildsysError, InputError, shorten
from buildsys.execution.places import Workspace, config_root
from buildsys.execution.state.configured_store import FILE, configured_places, is_inside


def find_cluster(workspace: Workspace) -> ClusterSettings | None:
    """BUILDSYS_CLUSTER, the address of a scheduler, else what buildsys.yaml says; None where neither names a
    cluster, and for `none`. Raises BuildsysError for a variable that cannot be right, InputError.

    BUILDSYS_CLUSTER_CA, the file with its certificate, counts before `ca` of the file; whether it may be
    without one, the file says in either case.
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
    """The file with the certificate of a cluster; a relative path begins in the user's folder of settings.

    Raises InputError for one in the repository, where a commit could bring that of another cluster.
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
    """What names the certificate, for messages: a variable of the environment or the file."""
    return CA_VARIABLE if os.environ.get(CA_VARIABLE) else FILE
