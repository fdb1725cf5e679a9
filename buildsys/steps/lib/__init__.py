"""Code that steps share, by subject; modules import only the standard library at module level, and
tools inside functions.
"""
