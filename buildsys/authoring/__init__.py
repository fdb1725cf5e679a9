"""What people write, read into frozen values with every mistake at its place."""
