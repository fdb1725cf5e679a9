"""The recipe language: recipes, variants, builds, gates, and the checks before any work."""
