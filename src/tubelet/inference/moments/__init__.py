"""Scores of every time step of a film: features, windows on the film's own grid, and the head that reads them."""
