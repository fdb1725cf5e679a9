"""What steps share, by subject; the standard library at module level, tools inside functions."""
