"""Benchmarks, answer extraction, scores and reports."""
