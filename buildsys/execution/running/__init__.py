"""One step: admitted, started as a process in its tool environment, ended with its parent."""
