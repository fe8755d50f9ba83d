"""Masked pre-training: which tokens are hidden, and the model that paints them."""
