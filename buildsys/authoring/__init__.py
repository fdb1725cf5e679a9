"""What people write, read into frozen values; every mistake is a diagnostic with file, line and column."""
