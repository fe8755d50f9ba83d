"""How good and how dear: metrics of a set of scores, and the cost of a model."""
