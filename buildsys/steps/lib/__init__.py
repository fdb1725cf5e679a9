"""What steps share, by subject: only the standard library at module level, tools imported inside functions."""
