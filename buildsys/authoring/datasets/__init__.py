"""Dataset blocks, their formats, and the facts of datasets and checkpoints."""
