"""One run over a workspace: plans, steps in order, console, summary."""
