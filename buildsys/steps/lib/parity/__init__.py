"""The parity ladder and the signal check: comparisons of recorded outputs within tolerances."""
