"""The recipe language: variants, builds, gates, checks before any work."""
