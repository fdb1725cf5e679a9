"""Model families: their architectures, how their checkpoints are read, and how their networks run."""
