"""torchvision's video networks, with the interface of the other models."""
