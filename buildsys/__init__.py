"""Declarative builds of vision models for edge hardware."""

__version__ = "0.2.0"
