"""One run over a workspace: plans, steps in order, what a person sees, the summary."""
