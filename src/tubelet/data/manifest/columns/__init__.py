"""The rows of a manifest as columns: a few bytes for each row, however many there are."""
