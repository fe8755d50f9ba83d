"""What a training run writes down: tables and TensorBoard events."""
