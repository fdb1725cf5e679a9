"""Accuracy and latency: measured, counted, recorded."""
