"""Training: one engine in plain torch, written so that a killed run resumes to the same bits."""
