"""Images: reading and writing their files, preparing them for a network, and drawing on them."""
