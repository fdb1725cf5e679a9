"""Which cluster a workspace's steps run on, if any.

dask runs what a scheduler sends: whoever chooses the scheduler may run code here. buildsys.yaml may come
with a pull request, so what it names counts only where a person has put the certificate of that cluster;
one without TLS has to be named by the person, too.
"""

import os
from dataclasses import replace
from pathlib import Path

from buildsys.cluster_settings import VARIABLE, ClusterSettings
from buildsys.errors import BuildsysError, InputError, shorten
from buildsys.execution.places import Workspace, config_root
from buildsys.execution.state.configured_store import configured_places, is_inside


def find_cluster(workspace: Workspace) -> ClusterSettings | None:
    """BUILDSYS_CLUSTER, the address of a scheduler, else what buildsys.yaml says; None where neither names a
    cluster, and for `none`. Raises BuildsysError for a variable that cannot be right, InputError.

    The certificate of a scheduler, and whether it may be without one, the file says in either case.
    """
    place = os.environ.get(VARIABLE, "")
    if place == "none":
        return None
    found = configured_places(workspace).cluster
    if not place:
        return found if found is not None and (found.scheduler or found.slurm) else None
    try:
        if found is None:
            return ClusterSettings(scheduler=place)
        return replace(found, scheduler=place, slurm=None)
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
            "buildsys.yaml",
            f"the certificate {found} is in the repository, where a commit could replace it",
            f"move it to {config_root()}, and write its name: `ca: {found.name}`",
        )
    return found
