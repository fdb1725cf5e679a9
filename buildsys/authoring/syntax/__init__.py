"""YAML with positions, scopes of merged values, validation as diagnostics."""
