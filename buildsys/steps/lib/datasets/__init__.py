"""Datasets and images: the formats that are read, labels, decoding, and our own prepared layout."""
