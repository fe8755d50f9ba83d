"""Sweeps and comparisons: arms, an equal tuning budget for each, seeds, and statistics."""
