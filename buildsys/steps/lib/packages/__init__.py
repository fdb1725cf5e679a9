"""Contents of packages besides the model: READMEs, flash plans, Triton repositories."""
