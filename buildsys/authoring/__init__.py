"""What people write, read into frozen values; mistakes are diagnostics with file, line and column."""
