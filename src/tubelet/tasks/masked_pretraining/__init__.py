"""Masked pre-training: what an encoder learns of clips without labels."""
