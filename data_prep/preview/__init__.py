"""`xcot preview`: groups of a dataset, in the terminal or as a page."""
