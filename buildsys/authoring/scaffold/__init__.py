"""What `buildsys init` and `buildsys new` write."""
