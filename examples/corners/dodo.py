"""Tasks of your own go here, beside the builds that buildsys' loader adds to doit's tasks.

doit.cfg or pyproject.toml names that loader. Without it, `doit` finds the builds by the line below.
"""

from buildsys.doit.loader import dodo

DOIT_CONFIG, task_builds = dodo()
