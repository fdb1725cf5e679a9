"""Running a step: the launcher, progress, and frameworks set up with declared threads."""
