"""From a video to a clip: which frames, which pixels, and what may vary at random."""
