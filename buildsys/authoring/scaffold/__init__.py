"""The files that `buildsys init` writes and the recipe that `buildsys new` writes."""
