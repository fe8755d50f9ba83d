"""From a model and a video to a prediction: one path for validation, test, command line and library."""
