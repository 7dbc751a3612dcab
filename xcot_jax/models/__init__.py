"""The decoder, its configurations and checkpoint formats."""
