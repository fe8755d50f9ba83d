"""Footage without labels, for masked pre-training."""
