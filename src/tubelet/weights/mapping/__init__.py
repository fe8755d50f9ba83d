"""Foreign weights by name, strictly: what knows no model."""
