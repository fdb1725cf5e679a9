"""The content-addressed store: blobs, trees, the action cache, archives, garbage collection."""
