"""Heads of networks: their outputs, shapes as formulas, and decoding into detections."""
