"""Runs one step: admits it, runs it as a process in its tool environment, stores its outputs."""
