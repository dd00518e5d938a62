"""Fixed figures, and the scripts that made them."""
