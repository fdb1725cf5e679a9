"""Running a step: the launcher, progress reports, and frameworks set up."""
