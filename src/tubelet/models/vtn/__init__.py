"""VTN: any image network on every frame, then a Longformer over the frames."""
