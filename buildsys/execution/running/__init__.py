"""One step at a time: admitted, run as a process in its tool environment, its outputs stored."""
