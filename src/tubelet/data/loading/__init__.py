"""Datasets of clips, worker processes with a watchdog, and the loader of batches."""
