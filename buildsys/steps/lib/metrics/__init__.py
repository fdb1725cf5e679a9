"""Accuracy, latency and predictions of model files."""
