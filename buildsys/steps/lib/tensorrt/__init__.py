"""TensorRT: the host's library, the program that builds engines, and the process that runs them."""
