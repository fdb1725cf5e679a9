"""Recipe + target + facts -> plan: steps joined by artifacts, with verdicts and proofs. Pure."""
