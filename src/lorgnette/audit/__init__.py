"""Finding what is wrong with labels and items, and settling it."""
