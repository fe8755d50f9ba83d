"""The rows of a dataset: labels, splits, quarantine, failure budget, and the file that holds them."""
