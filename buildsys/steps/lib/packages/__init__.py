"""What packages hold beside the model: READMEs, flash plans, Triton repositories."""
