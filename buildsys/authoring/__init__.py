"""Reads what people write into frozen values; mistakes become diagnostics with their position."""
