"""Model files: opened, read, described."""
