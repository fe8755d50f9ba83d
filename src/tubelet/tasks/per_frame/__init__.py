"""The task ``per_frame``: a label for every time step of a film, and the bouts that they make."""
