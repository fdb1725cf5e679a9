"""Model families: architectures, reading checkpoints, exporting and running networks."""
