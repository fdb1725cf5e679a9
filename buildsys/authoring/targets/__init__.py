"""Targets, firmware contracts, flash slots, TensorRT blocks: boards as data."""
