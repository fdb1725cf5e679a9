"""Datasets and images: layouts, labels, annotations, photographs, prepared images."""
