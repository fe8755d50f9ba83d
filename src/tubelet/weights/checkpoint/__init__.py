"""Checkpoints: written, read, opened by folder or hub name, with or without adapters."""
