"""Tool environments and the host's own tools: found, synced, named by version."""
