"""The sources of a row: video files, frame folders, volumes and members of tar shards."""
