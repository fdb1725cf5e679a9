"""One module a command: `arguments(parser)` and `run(options) -> exit code`."""
