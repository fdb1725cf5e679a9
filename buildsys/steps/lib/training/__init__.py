"""Trainings: settings, state, the best epoch, quantization-aware layers, and the files about them."""
