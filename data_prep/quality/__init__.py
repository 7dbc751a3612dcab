"""Quality rules of multilingual questions."""
