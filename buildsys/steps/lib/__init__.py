"""What steps share, by subject. Standard library at module level; tools are imported inside functions."""
