"""ViViT: Models 1 to 4 and the average-pool baseline."""
