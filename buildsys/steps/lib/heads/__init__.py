"""Heads of networks: their outputs, formulas of shapes, decoding into detections."""
