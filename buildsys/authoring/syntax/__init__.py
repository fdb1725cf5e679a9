"""YAML with positions, paths inside the workspace, merged values, validation as diagnostics."""
