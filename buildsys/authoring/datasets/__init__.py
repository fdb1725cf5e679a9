"""Dataset blocks and their formats, facts of data and checkpoints, confinement of paths."""
