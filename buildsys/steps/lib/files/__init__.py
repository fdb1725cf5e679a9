"""Model files: opening, reading and describing them."""
