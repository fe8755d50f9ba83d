"""Checkpoints for other runtimes: one file with protocol, labels and the proof that it computes the same."""
