"""The scan of a dataset: every file decoded once, and what is wrong with it."""
