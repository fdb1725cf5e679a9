"""TensorRT: the host's library, the program that builds engines, the process that runs them."""
