"""Where and when a model looked: relevance of the pixels of a clip for one class, and how far that can be trusted."""
