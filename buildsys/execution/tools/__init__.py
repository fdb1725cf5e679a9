"""Tool environments and the host's own tools: found, synced, identified by version."""
