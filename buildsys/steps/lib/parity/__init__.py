"""The parity ladder: recordings of two forms of a network, compared against tolerances."""
