"""Corpora in, TFRecords of parallel groups out."""
