"""Portraits: an endless supply of faces with known truth, in the published layouts."""
