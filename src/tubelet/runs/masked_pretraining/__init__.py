"""A run of the task ``masked_pretraining``: data, model, measures, pictures."""
