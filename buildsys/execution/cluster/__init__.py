"""Runs steps on other machines: messages, placement, the worker, and the executor of a run."""
