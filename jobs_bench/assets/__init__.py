"""Models and data sets: where they are, and how to get them."""
