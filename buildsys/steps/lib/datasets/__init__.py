"""Datasets and images: formats that people bring, labels, decoding, our own prepared layout."""
