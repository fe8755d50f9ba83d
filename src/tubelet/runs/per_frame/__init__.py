"""A run of the task ``per_frame``: features of films are stored, then a head is trained on windows of them."""
