"""One thin module per command: `arguments(parser)` and `run(options) -> exit code`."""
