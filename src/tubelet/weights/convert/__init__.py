"""Foreign formats converted to checkpoints and back, with the distance from the original measured."""
