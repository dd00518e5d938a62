"""The page on which a person settles labels, and the server behind it."""
