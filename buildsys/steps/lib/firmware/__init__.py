"""Firmware: contracts, output layouts, emulated decoders, and Arm's inference runner."""
