"""Fewframes: how little manual annotation is enough for video semantic segmentation."""

__version__ = "0.1.0"
