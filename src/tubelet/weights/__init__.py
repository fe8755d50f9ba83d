"""Weights from elsewhere, mapped strictly by name, and checkpoints of our own."""
