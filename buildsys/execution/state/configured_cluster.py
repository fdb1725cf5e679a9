"""Which cluster a workspace's steps run on, if any."""

import os
from dataclasses import replace

from buildsys.cluster_settings import ClusterSettings, check_settings
from buildsys.errors import BuildsysError, shorten
from buildsys.execution.places import Workspace
from buildsys.execution.state.configured_store import configured_places

VARIABLE = "BUILDSYS_CLUSTER"


def find_cluster(workspace: Workspace) -> ClusterSettings | None:
    """BUILDSYS_CLUSTER, the address of a scheduler, else what buildsys.yaml says; None where neither names a
    cluster, and for `none`. Raises BuildsysError for a variable that cannot be right.

    The certificate of a scheduler, and whether it may be without one, the file says in either case.
    """
    place = os.environ.get(VARIABLE, "")
    if place == "none":
        return None
    found = configured_places(workspace).cluster
    if not place:
        return found
    try:
        chosen = replace(found or ClusterSettings(), scheduler=place, slurm=None)
        check_settings(chosen)
    except ValueError as error:
        raise BuildsysError(f"{VARIABLE} is `{shorten(place)}`: {error}") from error
    return chosen
