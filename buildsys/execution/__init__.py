"""Executes plans: store, state, tools, runner, packages, session."""
