"""Steps on other machines: what crosses the wire, which worker fits, the worker, and the executor."""
