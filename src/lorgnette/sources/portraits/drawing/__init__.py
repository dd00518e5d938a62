"""What portraits are drawn of: a canvas, two brushes, and the parts of a face."""
