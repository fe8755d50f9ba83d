"""First weights of a video model, from an image model or from a video model."""
