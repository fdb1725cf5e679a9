"""Firmware and its boards: contracts, output layouts, emulated decoders, Arm's inference runner."""
