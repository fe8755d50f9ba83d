"""Comparisons whose conclusion can be trusted: arms, an equal tuning budget for each, seeds, and statistics."""
