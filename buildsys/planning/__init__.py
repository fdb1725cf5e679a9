"""Makes plans from recipe, target and facts: steps joined by artifacts, with verdicts and proofs.

Pure.
"""
