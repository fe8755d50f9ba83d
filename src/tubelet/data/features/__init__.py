"""Stored features of frames: their files, and the dataset that reads them."""
