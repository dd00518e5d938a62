"""Searching for settings: a space in a recipe, a study on disk, any number of workers."""
