"""Lexicons: what they are, their file formats, and their induction from parallel text."""
