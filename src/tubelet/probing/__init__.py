"""Frozen encoders and many heads: features once, then heads chosen by group inside the training part of each fold."""
