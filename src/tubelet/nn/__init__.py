"""Parts that more than one model is made of: tokenizers, position tables, attention, blocks, encoder."""
