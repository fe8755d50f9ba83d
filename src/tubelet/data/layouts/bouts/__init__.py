"""Labels of stretches of films ("bouts") as programs for observation write them. One file per format."""
