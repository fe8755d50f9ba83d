"""One model on several processes: how it lies on them, and which rows each computes."""
