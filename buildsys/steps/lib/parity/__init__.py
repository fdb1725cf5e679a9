"""The parity ladder and the signal check: recorded outputs compared against tolerances."""
