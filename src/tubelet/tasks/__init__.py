"""Tasks: what a label is, its loss, its metrics and their columns."""
