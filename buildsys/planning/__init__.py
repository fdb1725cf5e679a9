"""What a recipe for a target comes to: steps joined by artifacts, verdicts and proofs. Pure."""
