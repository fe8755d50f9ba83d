"""Video files: decoder, packet index, scaling, the reader of exact frames, live sources."""
