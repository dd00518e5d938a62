"""Lorgnette: from a pile of images with half-trusted labels to a classifier that is trusted."""

__version__ = "0.1.0"
