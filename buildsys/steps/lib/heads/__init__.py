"""Heads of networks: their outputs, shapes as formulas, decoding into detections."""
