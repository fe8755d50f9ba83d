"""What one item is read from: video files, frame folders, volumes, tar shards."""
