"""Tool environments and the machine's own tools: finds, syncs, and identifies them by version."""
