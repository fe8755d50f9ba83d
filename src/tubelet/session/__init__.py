"""What a long job runs in: device, processes, progress and signals."""
