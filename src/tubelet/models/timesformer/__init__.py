"""TimeSformer: divided, joint and space-only attention."""
