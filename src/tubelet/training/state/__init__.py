"""What a training run keeps: its state to resume from, and its checkpoints."""
