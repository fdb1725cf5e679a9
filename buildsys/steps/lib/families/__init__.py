"""Model families: what each declares, how its checkpoints are read and its networks run."""
