"""Datasets: labels, splits and surveys of any format, and our own prepared layout."""
